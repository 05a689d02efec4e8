"""One score: an image is given one number, higher for what is anomalous; the annotation says which side it is on."""

from robspec.tasks._task import Task

TASK = Task(
    name="scores",
    form="[1]",
    example="output score [1]",
    dimensions=1,
    item="image",
    annotation="labels",
    sides=True,
    each=False,
    scores=True,
)

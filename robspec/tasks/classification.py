"""Classification: an image is given one class; the annotation is a label for each image (MATH.md section 2)."""

from robspec.tasks._task import Task

TASK = Task(
    name="classification",
    form="[classes]",
    example="output scores [10]",
    dimensions=1,
    item="image",
    annotation="labels",
    each=False,
)

"""Detection: objects are found at locations; the annotation is the objects of each image (DETECTION.md)."""

from robspec.tasks._task import Task

TASK = Task(
    name="detection",
    form="[classes, locations]",
    example="output scores [3, 84]",
    dimensions=2,
    item="object",
    annotation="objects",
    objects=True,
)

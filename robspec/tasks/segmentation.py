"""Segmentation: every pixel of an image is given a class; the annotation is a mask of classes."""

from robspec.tasks._task import Task

TASK = Task(
    name="segmentation",
    form="[classes, height, width]",
    example="output logits [2, 256, 256]",
    dimensions=3,
    item="pixel",
    annotation="masks",
)

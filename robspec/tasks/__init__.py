"""What a model is for, one file each: what its outputs and its annotation mean.

A module holds a `TASK`. Everything behind it sees items in a plane: the pixels of an image, or one item for an image
that is judged as a whole. So classification is the mathematics of segmentation on one pixel (MATH.md section 2).
"""

from __future__ import annotations

import sys
from functools import lru_cache

from robspec import registry
from robspec.tasks._task import Task

__all__ = ["Task", "every", "of"]


@lru_cache(maxsize=1)
def every() -> tuple[Task, ...]:
    """Every task there is, by name."""
    return tuple(module.TASK for module in registry.modules(sys.modules[__name__]))


def of(dimensions: int, *, sides: bool) -> Task | None:
    """Find the task a declared output belongs to.

    Args:
        dimensions: how many numbers the output's shape has.
        sides: whether the model has an `annotation` of a normal and an anomalous side, in place of classes.

    Returns:
        The task; None where no output looks like this.
    """
    return next((task for task in every() if task.dimensions == dimensions and task.sides == sides), None)

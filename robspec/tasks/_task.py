"""What the language, the reader, the attack and the report need to know of a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Task:
    """One thing that models do.

    Args:
        name: the field's word for it.
        form: the shape of its output, as a mend shows it.
        example: an output statement.
        dimensions: how many numbers the shape has.
        item: what carries one decision: a pixel, or an image.
        annotation: the data statement that says what is right.
        sides: whether the model declares an `annotation` of a normal and an anomalous side, in place of `classes`.
        each: whether metrics of one class have a value for each image; else they are of the whole data set.
        scores: whether its metrics rank the scores of images; else they count decisions.
        objects: whether its metrics count objects that are found and detections that are wrong.
    """

    name: str
    form: str
    example: str
    dimensions: int
    item: str
    annotation: str
    sides: bool = False
    each: bool = True
    scores: bool = False
    objects: bool = False

    def plane(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Give the output's shape as channels and the sides of its plane of items, 1 x 1 for a whole image."""
        channels, *sides = shape
        height, width = (1,) * (2 - len(sides)) + tuple(sides)
        return channels, height, width

    def view(self, outputs: Any) -> Any:
        """See a batch of outputs as a plane of items.

        Args:
            outputs: a tensor [B, K, H, W], [B, K] for whole images, or [B, K, N] for locations.

        Returns:
            [B, K, H, W], the same memory.
        """
        return outputs.reshape(*outputs.shape[:2], *self.plane(tuple(outputs.shape[1:]))[1:])

"""Crop and resize, only as the data say: what is done to images, and to masks beside them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from robspec.data.errors import StepImpossible
from robspec.ir.types import Crop, Step

Array = npt.NDArray[np.generic]


def image(pixels: Array, steps: Sequence[Step], where: str) -> Array:
    """Bring an image to size.

    Args:
        pixels: [C, H, W], upright, as stored.
        steps: in order.
        where: the file, for the error.

    Returns:
        [C, H', W'] of the same dtype. `bilinear` is Pillow's: a triangle as wide as a pixel of the larger grid, in
        whole numbers of 8 bits; `nearest` takes the pixel in which the new pixel's centre lies.

    Raises:
        StepImpossible: E0333.
    """
    for step in steps:
        if isinstance(step, Crop):
            pixels = _cropped(pixels, step, where)
        elif step.method == "nearest":
            pixels = _nearest(pixels, step.height, step.width)
        elif pixels.dtype == np.uint8:
            size = step.width, step.height
            parts = [np.asarray(Image.fromarray(c).resize(size, Image.Resampling.BILINEAR)) for c in pixels]
            pixels = np.stack(parts)
        else:
            raise StepImpossible(
                where,
                f"its pixels are {pixels.dtype}, and `resize ... by bilinear` is defined for 8 bits",
                "write `by nearest`, or resize the files once",
            )
    return pixels


def plane(values: Array, steps: Sequence[Step], where: str) -> Array:
    """Bring one number per pixel to size, by the nearest pixel.

    Args:
        values: [H, W].
        steps: in order.
        where: the file, for the error.

    Returns:
        [H', W'], every number one of those stored.

    Raises:
        StepImpossible: E0333.
    """
    for step in steps:
        if isinstance(step, Crop):
            values = _cropped(values, step, where)
        else:
            values = _nearest(values, step.height, step.width)
    return values


def _cropped(values: Array, step: Crop, where: str) -> Array:
    height, width = values.shape[-2:]
    row = (height - step.height) // 2 if step.row is None else step.row
    column = (width - step.width) // 2 if step.column is None else step.column
    if row < 0 or column < 0 or row + step.height > height or column + step.width > width:
        place = "in its middle" if step.row is None else f"from row {row}, column {column}"
        raise StepImpossible(
            where,
            f"it is {height} x {width}, and a crop of {step.height} x {step.width} {place} does not lie within it",
            "crop less, or `resize` first",
        )
    return values[..., row : row + step.height, column : column + step.width]


def _nearest(values: Array, height: int, width: int) -> Array:
    """The pixel in which each new centre lies: floor((k + 1/2) * old / new), in whole numbers."""
    rows = (2 * np.arange(height) + 1) * values.shape[-2] // (2 * height)
    columns = (2 * np.arange(width) + 1) * values.shape[-1] // (2 * width)
    return values[..., rows[:, None], columns[None, :]]

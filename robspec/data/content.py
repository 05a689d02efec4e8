"""What an image is, whatever file it lies in."""

from __future__ import annotations

import hashlib

import numpy as np

from robspec import arrays
from robspec.arrays import Array


def digest(image: Array) -> str:
    """Hash the pixels of an image: two files that decode to the same input have the same digest.

    Args:
        image: float32 [C, H, W] in the declared range.

    Returns:
        sha256 in hexadecimal, of the shape and the values; -0 counts as 0.
    """
    values = np.ascontiguousarray(arrays.host(image).astype("<f4") + np.float32(0.0))
    return hashlib.sha256(repr(tuple(values.shape)).encode() + values.tobytes()).hexdigest()

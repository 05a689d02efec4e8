"""Where the model runs in float64, the image that is checked is the one the file holds."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from robspec.data.errors import PixelsTooFine
from robspec.data.scaling import to_range

ZERO, ONE = Fraction(0), Fraction(1)


def test_pixels_between_two_float32_numbers_are_refused() -> None:
    fine = np.full((1, 2, 2), 0.5 + 1e-9)
    with pytest.raises(PixelsTooFine, match="float32"):
        to_range(fine, ZERO, ONE, "image", wide=True)
    assert to_range(fine, ZERO, ONE, "image").dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_pixels_that_float32_holds_are_taken(dtype: type) -> None:
    held = np.array([0.0, 0.25, 0.75, 1.0]).astype(dtype)
    assert np.array_equal(to_range(held, ZERO, ONE, "image", wide=True), held)

"""From stored pixels to the declared range: exactly one scaling, and its description for the report."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from robspec.data.errors import PixelOutOfRange, PixelsTooFine, UnsupportedFile

_LEVELS = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
_FLOATS = tuple(np.dtype(t) for t in (np.float16, np.float32, np.float64))


@lru_cache(maxsize=8)
def _table(low: Fraction, high: Fraction, levels: int) -> npt.NDArray[np.float32]:
    exact = [float(low + (high - low) * Fraction(u, levels)) for u in range(levels + 1)]
    table = np.array(exact, dtype=np.float64).astype(np.float32)
    table.setflags(write=False)
    return table


def to_range(
    pixels: npt.NDArray[np.generic], low: Fraction, high: Fraction, where: str, *, wide: bool = False
) -> npt.NDArray[np.float32]:
    """Bring stored pixels to the declared input range.

    Args:
        pixels: any shape; uint8 and uint16 are scaled, floating point is checked and taken as it is.
        low: smallest input value.
        high: largest input value.
        where: the file, for the error.
        wide: whether the model computes in float64, where a pixel rounded to float32 is another one.

    Returns:
        float32, same shape: low + (high - low) * u / 255 (or / 65535) in float64, rounded once to float32.

    Raises:
        PixelOutOfRange: E0310, a floating-point value outside [low, high], NaN or infinite.
        UnsupportedFile: E0311, another dtype.
        PixelsTooFine: E0317, float32 does not hold the pixels and the model would see the difference.
    """
    levels = _LEVELS.get(pixels.dtype)
    if levels is not None:
        return _table(low, high, levels)[pixels.astype(np.intp)]
    check_dtype(pixels.dtype, where)
    _check_range(pixels.astype(np.float64), low, high, where)
    single = pixels.astype(np.float32)
    if wide and not np.array_equal(single, pixels):
        raise PixelsTooFine(
            where,
            "its float64 pixels are no float32 numbers, and a model that runs in float64 would be given others",
            "save them as float32, np.save(path, image.astype(np.float32)), so that the file holds what is checked",
        )
    return single


def check_dtype(dtype: np.dtype[np.generic], where: str) -> None:
    """Stop where pixels of a dtype have no scale.

    Raises:
        UnsupportedFile: E0311.
    """
    native = dtype.newbyteorder("=")
    if native not in _LEVELS and native not in _FLOATS:
        raise UnsupportedFile(
            where,
            f"its pixels are {dtype}, whose scale is not defined",
            "save it as uint8, uint16 or floating point in the declared range",
        )


def _check_range(values: npt.NDArray[np.float64], low: Fraction, high: Fraction, where: str) -> None:
    if not bool(np.isfinite(values).all()):
        raise PixelOutOfRange(where, "it holds NaN or infinite pixels", "remove them; they are not in any range")
    lowest, highest = float(values.min()), float(values.max())
    # A bound such as 0.1 has no float32 of its own: its rounding belongs to the range as well.
    least = min(float(low), float(np.float32(float(low))))
    most = max(float(high), float(np.float32(float(high))))
    if lowest < least or highest > most:
        raise PixelOutOfRange(
            where,
            f"its values span [{lowest:.6g}, {highest:.6g}], the declared range is [{float(low):g}, {float(high):g}]",
            "scale the array to the declared range and save it, save it as uint8, or correct the range",
        )


def describe(low: Fraction, high: Fraction) -> str:
    """State the scaling in one line.

    Args:
        low: smallest input value.
        high: largest input value.

    Returns:
        For the report.
    """
    start, width = f"{float(low):g}", high - low
    front = "" if low == 0 else f"{start} + "
    factor = "u" if width == 1 else f"{float(width):g} u"
    return (
        f"pixels: stored u becomes {front}{factor} / 255 (16 bits: {front}{factor} / 65535); floating point as it is"
    )

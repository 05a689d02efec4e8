"""Arrays of Python's integers, which have as many digits as it takes."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from robspec.oracle.scene import FloatArray, IntArray

ObjectArray: TypeAlias = npt.NDArray[Any]
_BITS = 900
"""Of integers that doubles hold without a thought for their range."""


def objects(values: Sequence[int]) -> ObjectArray:
    """Keep integers as they are, in an array of one dimension."""
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def whole(z: FloatArray) -> tuple[ObjectArray, Fraction]:
    """Write doubles as integers of one common unit, without rounding.

    Args:
        z: any shape, finite.

    Returns:
        The integers, of the same shape, and the unit, a power of two.
    """
    fraction, exponent = np.frexp(z)
    mantissa = (fraction * 2.0**53).astype(np.int64)
    there = mantissa != 0
    # Zeros at the end of all of them are no digits.
    odd = np.where(there, mantissa & -mantissa, 1)
    trailing = np.round(np.log2(odd.astype(np.float64))).astype(np.int64)
    lowest = int((exponent + trailing)[there].min()) if there.any() else 53
    shift = exponent - lowest
    values = [
        (m << s if s >= 0 else m >> -s) if m else 0
        for m, s in zip(mantissa.reshape(-1).tolist(), shift.reshape(-1).tolist(), strict=True)
    ]
    return objects(values).reshape(z.shape), Fraction(2) ** (lowest - 53)


def nearly(values: ObjectArray) -> FloatArray:
    """Give doubles in the order of non-negative integers, those that are nearly equal being level."""
    longest = int(values.max()).bit_length() if len(values) else 0
    kept = values >> (longest - _BITS) if longest > _BITS else values
    found: FloatArray = kept.astype(np.float64)
    return found


def by_parts(numbers: ObjectArray, parts: IntArray, count: int) -> list[int]:
    """Add up integers part by part.

    Args:
        numbers: int [n].
        parts: int64 [n], below `count`.
        count: how many parts there are.
    """
    sums = np.zeros(count, dtype=object)
    np.add.at(sums, parts, numbers)
    return [int(n) for n in sums]

"""The chances of the cells that normal numbers are drawn from, added up, as integers: computed between two bounds."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from robspec.kernels.normal._exact import CELLS, DIGITS, GUIDE

_WORK = 32 * DIGITS + 128
"""Bits behind the point while computing."""


@cache
def sums() -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int16]]:
    """Work out the sums of exp(-j^2 / 2^13) over all of them, rounded down, and where to begin to look.

    Returns:
        uint32 [CELLS - 1, DIGITS], digits of 32 bits, the first in front, and int16 [GUIDE].

    Raises:
        ArithmeticError: the bounds do not tell what a sum rounded down is.
    """
    below, above = _weights(down=True), _weights(down=False)
    least, most, integers = 0, 0, []
    whole = sum(below), sum(above)
    for low, high in zip(below[:-1], above[:-1], strict=True):
        least, most = least + low, most + high
        found = (least << 32 * DIGITS) // whole[1]
        if found != (most << 32 * DIGITS) // whole[0]:
            raise ArithmeticError("more bits are needed")
        integers.append(found)
    digits = [[(each >> 32 * place) & 0xFFFFFFFF for place in reversed(range(DIGITS))] for each in integers]
    table = np.array(digits, dtype=np.uint32)
    # No sum before this cell's is above the least number that begins so.
    guide = np.searchsorted(table[:, 0], np.arange(GUIDE, dtype=np.uint64) << 20, side="left")
    return table, guide.astype(np.int16)


def _weights(*, down: bool) -> list[int]:
    """exp(-j^2 / 2^13) for each cell, times 2^`_WORK`, all rounded to one side."""
    up = 0 if down else 1
    # exp(-1 / 2^13) between two of its partial sums.
    term = root = 1 << _WORK
    for k in range(1, 81):
        term = -(term // (k << 13)) if term > 0 else (-term) // (k << 13)
        root += term
    root += 162 * (2 * up - 1)
    twice = (root * root >> _WORK) + up
    weights, step = [1 << _WORK], root
    for _ in range(CELLS - 1):
        weights.append((weights[-1] * step >> _WORK) + up)
        step = (step * twice >> _WORK) + up
    return weights

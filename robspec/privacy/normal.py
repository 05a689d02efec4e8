"""Coins and normal noise made of random bits and integers alone: no floating-point number has last bits to tell from.

Noise is standard normal, taken 2^32 times and rounded down. Added to an integer K it is what rounding K + 2^32 Z down
gives, so that whoever sees it sees a function of the ideal mechanism K + 2^32 Z, and no more.

Uniform numbers have as many digits of 32 bits as it takes to tell which of two is smaller, 14 at most. Where two are
equal in all of them nothing is decided, and the number is drawn anew. Together with what lies beyond 24 deviations
that changes the chance of no event by more than 2^-416 (docs/explanation/privacy.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from robspec.kernels.normal._exact import TRY, numbers
from robspec.kernels.normal._sums import sums

Bits: TypeAlias = Callable[[int], bytes]
"""Gives so many random bytes; `secrets.token_bytes` where privacy is to come of it."""

UNIT = 1 << 32
"""The standard deviation of the noise, in integers."""
_EACH = 13
"""Quarters of words of 32 bits that a number takes on average, and a little more."""


def coins(count: int, q: float, bits: Bits) -> list[int]:
    """Draw each of a number of samples by itself.

    Args:
        count: how many there are.
        q: the probability of each, in (0, 1]; it is rounded down to 64 bits, so that none is drawn more often.
        bits: random bytes.

    Returns:
        Which are drawn, ascending.
    """
    if q >= 1:
        return list(range(count))
    below = np.uint64(math.floor(Fraction(q) * 2**64))
    words = np.frombuffer(bits(8 * count), dtype="<u8")
    return [int(k) for k in np.flatnonzero(words < below)]


def rounded_normal(count: int, bits: Bits) -> npt.NDArray[np.int64]:
    """Draw standard normal numbers, times 2^32, rounded down.

    Args:
        count: how many.
        bits: random bytes.

    Returns:
        int64 [count].

    Source: von Neumann 1951 and Karney 2016, see `robspec.kernels.normal._exact`.
    """
    found = np.zeros(count, dtype=np.int64)
    chances, guide = sums()
    done = 0
    while done < count:
        words = np.frombuffer(bits(4 * TRY + _EACH * (count - done) // 4 * 4), dtype="<u4")
        done = numbers(words, chances, guide, found, done)
    return found

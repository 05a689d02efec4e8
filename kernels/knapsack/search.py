"""The largest double budget that still certifies, found by bisection over the doubles themselves."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

_LARGEST = math.nextafter(math.inf, 0.0)


def largest_certifying(certifies: Callable[[float], bool], guess: float) -> float:
    """Find the largest double for which a downward-closed predicate holds.

    Args:
        certifies: True below some unknown double and False above it; deterministic.
        guess: where to look first; any value is correct, a good one is fast.

    Returns:
        The largest eps >= 0 with certifies(eps); 0.0 when no positive double certifies.

    Source: MATH.md section 6 (radius).
    """
    guess = min(max(guess, 0.0), _LARGEST) if math.isfinite(guess) else _LARGEST
    low, high = guess * (1 - 2**-20), min(guess * (1 + 2**-40), _LARGEST)
    if not certifies(low):
        low, high = 0.0, low
    elif certifies(high):
        low, high = high, _LARGEST
        if certifies(high):
            return high
    a, b = _bits(low), _bits(high)
    while b - a > 1:
        middle = (a + b) // 2
        if certifies(_double(middle)):
            a = middle
        else:
            b = middle
    return _double(a)


def _bits(value: float) -> int:
    """Order-preserving integer of a non-negative double."""
    return int(struct.unpack("<q", struct.pack("<d", value + 0.0))[0])


def _double(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<q", bits))[0])

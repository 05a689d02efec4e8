"""The largest double budget that still certifies, found by bisection over the doubles themselves."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import numpy as np

from robspec.kernels.knapsack import BoolArray, FloatArray

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


def largest_certifying_each(
    certify: Callable[[FloatArray], BoolArray], guesses: FloatArray, candidates: int
) -> FloatArray:
    """Find the largest certifying double of several predicates together, many candidates in each round.

    The first round tries doubles at exponentially growing distances around the guesses, every later one divides what
    is left evenly.

    Args:
        certify: takes doubles [N, candidates], one row per predicate, and says which certify; each row as in
            `largest_certifying`.
        guesses: [N], where to look first; any values are correct, good ones are fast.
        candidates: how many to try at once.

    Returns:
        [N], the largest eps >= 0 each; 0.0 where no positive double certifies.

    Source: MATH.md section 6 (radius).
    """
    tops = np.where(np.isfinite(guesses), np.maximum(guesses, 0.0), _LARGEST)
    guessed = [_bits(float(g)) for g in tops]
    low = [0] * len(guessed)
    high = [_bits(math.inf)] * len(guessed)
    step = -(-63 * 2 // candidates)
    around = sorted(sign * 2 ** (step * j) for sign in (-1, 1) for j in range(candidates // 2))
    tried = [[min(max(g + offset, 1), _bits(_LARGEST)) for offset in around] for g in guessed]
    while True:
        fits = certify(np.array(tried, dtype=np.int64).view(np.float64))
        for n, row in enumerate(tried):
            for bits, yes in zip(row, fits[n].tolist(), strict=True):
                if yes:
                    low[n] = max(low[n], bits)
                else:
                    high[n] = min(high[n], bits)
        if all(b - a <= 1 for a, b in zip(low, high, strict=True)):
            return np.array(low, dtype=np.int64).view(np.float64)
        tried = [
            [a + max((b - a) * (c + 1) // (candidates + 1), 1) for c in range(candidates)]
            for a, b in zip(low, high, strict=True)
        ]
        tried = [[min(x, max(b - 1, 1)) for x in row] for row, b in zip(tried, high, strict=True)]

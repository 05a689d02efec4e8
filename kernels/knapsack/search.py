"""The largest double budget that still certifies, found by bisection over the doubles themselves."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import numpy as np

from robspec.kernels.knapsack import BoolArray, FloatArray

_LARGEST = math.nextafter(math.inf, 0.0)
_FIRST_STEP = 2**18
_STEP_GROWTH = 2**6
_LONG_STEP = 2**54
"""Four powers of two: a farther guess is not worth what asking about a much too large budget may cost."""
_LONG_STEPS = 32
_NARROWING = 6


def largest_certifying(
    certifies: Callable[[float], bool], guess: float, narrowed: Callable[[float, float], None] | None = None
) -> float:
    """Find the largest double for which a downward-closed predicate holds.

    The distance from the guess grows exponentially until the answer is enclosed, then the enclosure is halved.

    Args:
        certifies: True below some unknown double and False above it; deterministic.
        guess: where to look first; any value is correct, a good one is fast.
        narrowed: told now and then that only doubles strictly between a certifying and a failing one will be asked
            from here on, which may make asking cheaper.

    Returns:
        The largest eps >= 0 with certifies(eps); 0.0 when no positive double certifies.

    Source: MATH.md section 6 (radius).
    """
    guess = min(max(guess, 0.0), _LARGEST) if math.isfinite(guess) else _LARGEST
    a, b, at, step = 0, _bits(math.inf), max(_bits(guess), 1), _FIRST_STEP
    turn = 0
    while b - a > 1 and (a == 0 or b == _bits(math.inf)):
        if certifies(_double(at)):
            a, at = at, min(at + step, _bits(_LARGEST))
        else:
            b, at = at, max(at - step, 1)
        if at in (a, b):
            break
        turn += 1
        if step < _LONG_STEP or turn > _LONG_STEPS:
            step *= _STEP_GROWTH
    turn = 0
    while b - a > 1:
        if narrowed is not None and turn % _NARROWING == 0 and a > 0 and b < _bits(math.inf):
            narrowed(_double(a), _double(b))
        middle = (a + b) // 2
        if certifies(_double(middle)):
            a = middle
        else:
            b = middle
        turn += 1
    return _double(a)


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


def _bits(value: float) -> int:
    """Order-preserving integer of a non-negative double."""
    return int(struct.unpack("<q", struct.pack("<d", value + 0.0))[0])


def _double(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<q", bits))[0])

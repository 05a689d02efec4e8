"""Distances of pairs of scores, compared exactly and counted without being listed.

The distance s - a of two doubles is written as a *key* (rounded, error, 0): the rounded difference and its error,
which is a double too. Rounding is monotone, so keys ordered as tuples are distances in order. Where the rounded
difference overflows, the key is (infinity, rounded half, error of the half). Both scores of such a pair are large
enough for their halves to be exact.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import NamedTuple

from robspec.kernels._jit import compiled
from robspec.kernels.scores import FloatArray, IntArray

LARGEST = math.nextafter(math.inf, 0.0)
_OVERFLOW = Fraction(LARGEST) + Fraction(math.ulp(LARGEST)) / 2
"""The least number that is rounded to infinity."""


class Key(NamedTuple):
    """A total shift between or at distances.

    Args:
        rounded: as in the key of a distance, and so are the next two.
        half: the error, or the rounded half where `rounded` is infinite.
        rest: 0, or the error of the half.
        exact: whether the shift is the key itself, rather than above it and below the next key.
    """

    rounded: float
    half: float
    rest: float
    exact: bool


def key(total: Fraction) -> Key:
    """Write a shift as a key, rounding down.

    Args:
        total: of both sides, >= 0.

    Returns:
        The largest key not above it.
    """
    if total < _OVERFLOW:
        rounded = float(total)
        rest, exact = _down(total - Fraction(rounded))
        return Key(rounded, rest, 0.0, exact)
    if total > 2 * Fraction(LARGEST):
        return Key(math.inf, math.inf, 0.0, False)
    half = float(total / 2)
    rest, exact = _down(total / 2 - Fraction(half))
    return Key(math.inf, half, rest, exact)


def shift(found: Key) -> Fraction:
    """Read the distance that a key of a pair stands for."""
    if math.isinf(found.rounded):
        return 2 * (Fraction(found.half) + Fraction(found.rest))
    return Fraction(found.rounded) + Fraction(found.half)


def _down(value: Fraction) -> tuple[float, bool]:
    near = float(value)
    if Fraction(near) > value:
        near = math.nextafter(near, -math.inf)
    return near, Fraction(near) == value


@compiled(inline="always")
def _error(s: float, a: float, difference: float) -> float:
    """The exact error of a rounded difference (Dekker's fast two-sum, the larger operand first)."""
    if abs(s) >= abs(a):
        return (s - difference) - a
    return s - (difference + a)


@compiled(inline="always")
def _side(s: float, a: float, rounded: float, half: float, rest: float) -> int:
    """Compare the distance s - a with a key: -1, 0 or 1."""
    difference = s - a
    if difference != rounded:
        return -1 if difference < rounded else 1
    if not math.isinf(difference):
        error = _error(s, a, difference)
        return 0 if error == half else (-1 if error < half else 1)
    s, a = 0.5 * s, 0.5 * a
    difference = s - a
    if difference != half:
        return -1 if difference < half else 1
    error = _error(s, a, difference)
    return 0 if error == rest else (-1 if error < rest else 1)


@compiled()
def count(
    s: FloatArray,
    a: FloatArray,
    rounded: float,
    half: float,
    rest: float,
    exact: bool,
    nearer: IntArray,
    within: IntArray,
) -> None:
    """Count, for each anomaly, the normal scores within a shift of it: one walk along both lists.

    Args:
        s: anomalous scores, descending.
        a: normal scores, ascending.
        rounded: the shift, a `Key`, and so are the next three.
        half: see there.
        rest: see there.
        exact: see there.
        nearer: int64 [n], written: how many a have s - a below the shift.
        within: int64 [n], written: how many a have s - a at most the shift.
    """
    m = a.size
    # Distances grow along s backwards and along a backwards, so neither end ever turns.
    at = beyond = m
    for i in range(s.size):
        while beyond > 0 and _side(s[i], a[beyond - 1], rounded, half, rest) <= 0:
            beyond -= 1
        within[i] = m - beyond
        if exact:
            while at > 0 and _side(s[i], a[at - 1], rounded, half, rest) < 0:
                at -= 1
            nearer[i] = m - at
        else:
            nearer[i] = m - beyond

"""The normal distribution with its rounding in hand: values above the true ones, quantiles below them."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

_BITS = 400
"""Of the sums' fixed point: their terms reach 2^104 where arguments reach 12."""
_ARGUMENT, _RESULT = 64, 120
"""Bits behind the point of an argument, and of what is made of it."""
_FURTHEST = 12
_PI_BELOW = Fraction(3141592653589793238462643383279502884, 10**36)
_GRID = 40
"""Bits behind the point of a quantile."""


@lru_cache(maxsize=4096)
def phi_up(x: Fraction) -> Fraction:
    """Bound the distribution function of the standard normal from above.

    Args:
        x: any rational.

    Returns:
        A rational v >= Phi(x), less than 2^-62 above it for x in [0, 12]; 1/2 below 0 and 1 beyond 12.

    Source: Abramowitz and Stegun 1964, 26.2.10; a sum with falling terms of changing sign that ends on a positive one
        is above its limit.
    """
    if x <= 0:
        return Fraction(1, 2)
    if x > _FURTHEST:
        return Fraction(1)
    at = -((-x.numerator << _ARGUMENT) // x.denominator)
    square = at * at
    shift = 2 * _ARGUMENT
    high = low = at << (_BITS - _ARGUMENT)
    total, k = high, 0
    # Terms fall for good from k > x^2 / 2 on; they are below 2^-_BITS by k = 400.
    while k < 400 or k % 2:
        k += 1
        high = _ceiling(high * square, 2 * k << shift)
        low = (low * square) // (2 * k << shift)
        total += -(low // (2 * k + 1)) if k % 2 else _ceiling(high, 2 * k + 1)
    root = math.isqrt((2 * _PI_BELOW.numerator << (2 * _BITS)) // _PI_BELOW.denominator)  # sqrt(2 pi) 2^_BITS, below
    up = _ceiling(total << _RESULT, root)
    return min(Fraction(1, 2) + Fraction(up, 1 << _RESULT), Fraction(1))


def quantile_down(p: Fraction) -> Fraction:
    """Bound a quantile of the standard normal from below.

    Args:
        p: in [1/2, 1).

    Returns:
        A rational x >= 0 with Phi(x) <= p, at most 2^-39 below the quantile for p <= Phi(12); 0 below p = 1/2.
    """
    low, high = 0, _FURTHEST << _GRID
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if phi_up(Fraction(middle, 1 << _GRID)) <= p else (low, middle)
    return Fraction(low, 1 << _GRID)


def _ceiling(a: int, b: int) -> int:
    return -(-a // b)

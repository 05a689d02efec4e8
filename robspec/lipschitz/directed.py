"""Upward-rounded arithmetic on non-negative floats: every result is at least the exact one, unless named floor."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

from robspec.semantics.norm import Norm
from robspec.semantics.powers import is_short, power_above

UNIT = 2.0**-53
"""Unit roundoff of float64."""


def ceil_float(value: Fraction) -> float:
    """Round an exact non-negative rational up to the next float.

    Args:
        value: exact, >= 0.

    Returns:
        The smallest float >= value; infinity beyond the largest float.
    """
    return _above(value.numerator, value.denominator)


def _above(top: int, bottom: int) -> float:
    """Round a quotient of integers up, as `ceil_float` does; division of integers rounds to nearest."""
    try:
        nearest = top / bottom
    except OverflowError:
        return math.inf
    over, under = nearest.as_integer_ratio()
    return nearest if over * bottom >= top * under else math.nextafter(nearest, math.inf)


def floor_float(value: Fraction) -> float:
    """Round an exact non-negative rational down to the next float; the largest one beyond it."""
    above = ceil_float(value)
    return above if math.isfinite(above) and Fraction(above) == value else math.nextafter(above, 0.0)


def mul(*factors: float) -> float:
    """Multiply non-negative floats, rounding up; zero times infinity is infinity."""
    if any(math.isinf(f) or math.isnan(f) for f in factors):
        return math.inf
    top, bottom = 1, 1
    for factor in factors:
        over, under = factor.as_integer_ratio()
        top, bottom = top * over, bottom * under
    return _above(top, bottom)


def add(*terms: float) -> float:
    """Add non-negative floats, rounding up."""
    if any(math.isinf(t) or math.isnan(t) for t in terms):
        return math.inf
    ratios = [term.as_integer_ratio() for term in terms]
    bottom = max((under for _, under in ratios), default=1)  # powers of two, of which the largest is a common one
    return _above(sum(over * (bottom // under) for over, under in ratios), bottom)


def div(numerator: float, denominator: float) -> float:
    """Divide a non-negative float by a positive one, rounding up."""
    if math.isinf(numerator) or math.isnan(numerator):
        return math.inf
    (over, under), (below, beneath) = numerator.as_integer_ratio(), denominator.as_integer_ratio()
    return _above(over * beneath, under * below)


def power(value: float | Fraction, exponent: Fraction) -> float:
    """Raise a non-negative number to a non-negative rational exponent, rounding up.

    Args:
        value: the base, >= 0.
        exponent: exact, >= 0.

    Returns:
        A float y with y**denominator >= value**numerator, checked in exact rationals where both are small.
    """
    if exponent == 0:
        return 1.0
    if isinstance(value, float) and not math.isfinite(value):
        return math.inf
    exact = Fraction(value)
    if exact == 0:
        return 0.0
    if not is_short(exponent):
        return power_above(exact, exponent)
    if exponent.denominator == 1:
        return ceil_float(exact**exponent.numerator)
    try:
        guess = ceil_float(exact) ** float(exponent)
    except OverflowError:
        return math.inf
    if math.isinf(guess):
        return math.inf
    target = exact**exponent.numerator
    guess = math.nextafter(guess, 0.0)
    while Fraction(guess) ** exponent.denominator < target:
        guess = math.nextafter(guess, math.inf)
    return guess


def sqrt(value: float | Fraction) -> float:
    """Square root, rounding up."""
    return power(value, Fraction(1, 2))


def inverse(norm: Norm) -> Fraction:
    """The exact 1/r of a norm, zero for infinity."""
    return Fraction(0) if norm.p is None else 1 / norm.p


def root(value: float | int | Fraction, norm: Norm) -> float:
    """value**(1/r) rounded up: the norm of repeating every entry `value` times (MATH.md section 5)."""
    return power(Fraction(value), inverse(norm))


def stack(values: Iterable[float], norm: Norm) -> float:
    """The l_r norm of a vector of bounds, rounded up: (sum L_i^r)^(1/r), the bound of a concatenation."""
    items = list(values)
    if len(items) == 1:
        return items[0]
    if norm.p is None:
        return max(items, default=0.0)
    if norm.p == 1:
        return add(*items)
    if norm.p == 2:
        if any(not math.isfinite(v) for v in items):
            return math.inf
        return sqrt(sum((Fraction(v) ** 2 for v in items), Fraction(0)))
    if any(not math.isfinite(v) for v in items):
        return math.inf
    most = max(items, default=0.0)
    if most == 0.0:
        return 0.0
    # Relative to the largest: its p-th power alone may be beyond every float.
    total = add(*(power(Fraction(v) / Fraction(most), norm.p) for v in items))
    return mul(most, power(total, inverse(norm)))


def between(at_one: float, at_two: float, at_infinity: float, norm: Norm) -> float:
    """Riesz-Thorin: bound a linear map in any l_r from its l_1, l_2 and l_infinity norms, rounded up.

    Args:
        at_one: bound in l_1.
        at_two: bound in l_2.
        at_infinity: bound in l_infinity.
        norm: r.

    Returns:
        The bound in l_r.

    Source: MATH.md section 5.
    """
    exponent = inverse(norm)
    if exponent >= Fraction(1, 2):
        return mul(power(at_one, 2 * exponent - 1), power(at_two, 2 - 2 * exponent))
    return mul(power(at_two, 2 * exponent), power(at_infinity, 1 - 2 * exponent))


def gamma(terms: int) -> float:
    """The constant n u / (1 - n u) of an n-term float64 sum of products, rounded up."""
    exact = Fraction(terms) * Fraction(UNIT)
    return ceil_float(exact / (1 - exact))

"""Powers with any exponent, rounded up, at a cost that does not grow with the exponent's digits."""

from __future__ import annotations

import decimal
import math
from decimal import Decimal
from fractions import Fraction

MOST_EXACT = 64
"""Exponents whose numerator and denominator are no larger are computed in exact rationals; others in decimals."""

_DIGITS = 80
_SLACK = Decimal("1e-60")
_UP = decimal.Context(
    prec=_DIGITS, rounding=decimal.ROUND_CEILING, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[]
)
_DOWN = decimal.Context(
    prec=_DIGITS, rounding=decimal.ROUND_FLOOR, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[]
)
_LEAST = math.ulp(0.0)


def is_short(exponent: Fraction) -> bool:
    """Whether an exponent is computed with exactly."""
    return max(exponent.numerator, exponent.denominator) <= MOST_EXACT


def power_above(value: Fraction, exponent: Fraction) -> float:
    """Bound value^exponent from above through logarithms of 80 digits.

    Args:
        value: exact, > 0.
        exponent: exact, >= 0, of any length.

    Returns:
        A double that is at least the power, hardly ever more than the next one above it; infinity beyond the largest.
    """
    # Each step is an upper bound of the exact one. The quotient is rounded up and ln is increasing; ln is correctly
    # rounded (docs.python.org/3/library/decimal.html), so the true logarithm is within one part in 10^79 of what it
    # gives, and a part in 10^60 is added. exponent * log grows with the exponent where log > 0 and falls where it is
    # < 0: the exponent is rounded up there, down here. exp is increasing, correctly rounded, and gets its part too.
    log = _UP.divide(Decimal(value.numerator), Decimal(value.denominator)).ln(_UP)
    log = _UP.add(log, _UP.multiply(_UP.abs(log), _SLACK))
    rounding = _UP if log > 0 else _DOWN
    log = _UP.multiply(log, rounding.divide(Decimal(exponent.numerator), Decimal(exponent.denominator)))
    if log > 720:
        return math.inf
    if log < -760:
        return _LEAST
    found = _UP.multiply(log.exp(_UP), 1 + _SLACK)
    return _ceiling(Fraction(found))


def _ceiling(value: Fraction) -> float:
    try:
        nearest = float(value)
    except OverflowError:
        return math.inf
    return nearest if Fraction(nearest) >= value else math.nextafter(nearest, math.inf)

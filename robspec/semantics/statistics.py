"""One-sided confidence statements about a population, decided exactly (MATH.md section 4)."""

from __future__ import annotations

import decimal
import math
from fractions import Fraction

_CONTEXT = decimal.Context(prec=60, rounding=decimal.ROUND_CEILING)
_SLACK = 1 + Fraction(1, 10**50)


def fraction_is_claimed(successes: int, trials: int, fraction: Fraction, confidence: Fraction) -> bool:
    """Decide whether x successes in n draws claim that a population fraction is at least p.

    Args:
        successes: x, images that satisfy the requirement.
        trials: n, images evaluated.
        fraction: p, in (0, 1).
        confidence: in (0, 1).

    Returns:
        True iff P(Bin(n, p) >= x) <= 1 - confidence, in exact rational arithmetic.

    Source: MATH.md section 4 (the exact one-sided binomial test).
    """
    if trials == 0 or successes == 0:
        return False
    a, b = fraction.numerator, fraction.denominator
    tail = sum(math.comb(trials, k) * a**k * (b - a) ** (trials - k) for k in range(successes, trials + 1))
    return Fraction(tail, b**trials) <= 1 - confidence


def mean_margin(trials: int, confidence: Fraction) -> Fraction:
    """Bound how far the mean of n values in [0, 1] may lie above the population mean.

    Args:
        trials: n, at least 1.
        confidence: in (0, 1).

    Returns:
        sqrt(ln(1 / (1 - confidence)) / (2 n)), rounded up: the sample mean minus it is a lower confidence bound.

    Source: Hoeffding 1963, theorem 1; MATH.md section 4.
    """
    alpha = 1 - confidence
    inverse = _CONTEXT.divide(decimal.Decimal(alpha.denominator), decimal.Decimal(alpha.numerator))
    log = Fraction(_CONTEXT.ln(inverse)) * _SLACK
    square = log / (2 * trials)
    ratio = _CONTEXT.divide(decimal.Decimal(square.numerator), decimal.Decimal(square.denominator))
    return Fraction(_CONTEXT.sqrt(ratio)) * _SLACK

"""The logit from which a location fires, between two rationals (DETECTION.md D1)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from functools import lru_cache

import numpy as np

from robspec.ir.types import Detector

PROBABILITY_ERROR = Fraction(1, 2**22)
"""A sigmoid in float32 and the threshold it is compared with, rounded to float32, together."""
ORDER_ERROR = Fraction(1, 2**21)
"""Two such sigmoids."""
_DIGITS = Context(prec=60, rounding=ROUND_HALF_EVEN, Emin=-(10**6), Emax=10**6)
_ROOM = Fraction(1, 10**40)
"""More than the roundings of a few operations of 60 digits on numbers below a thousand."""
_LAST = 200
"""Sigmoids of this and above are less than 10^-86 from 1."""


@dataclass(frozen=True, slots=True)
class Bracket:
    """Where a location fires.

    Args:
        low: below it nothing fires, as computed; None where everything may.
        high: from it on everything fires, as computed; None where nothing is sure to.
        order: how far two scores that are equal as computed may be apart in truth; 0 where logits are compared.
    """

    low: Fraction | None
    high: Fraction | None
    order: Fraction = Fraction(0)

    @staticmethod
    def of(detector: Detector) -> Bracket:
        """Of the detector's own threshold."""
        if detector.of == "sigmoid":
            return Bracket.of_probability(detector.threshold)
        return Bracket.of_score(detector.threshold)

    @staticmethod
    def of_probability(tau: Fraction) -> Bracket:
        """Of a probability that sigmoids in float32 are compared with."""
        low, high = _logit(tau - PROBABILITY_ERROR), _logit(tau + PROBABILITY_ERROR)
        return Bracket(
            low - _ROOM if isinstance(low, Fraction) else None if low < 0 else _NEVER,
            high + _ROOM if isinstance(high, Fraction) else None if high > 0 else -_NEVER,
            ORDER_ERROR,
        )

    @staticmethod
    def of_score(tau: Fraction) -> Bracket:
        """Of a number that scores in float32 are compared with, which may round it either way."""
        near = np.float32(float(tau))
        while Fraction(float(near)) > tau:
            near = np.nextafter(near, np.float32(-math.inf))
        if Fraction(float(near)) == tau:
            return Bracket(tau, tau)
        after = np.nextafter(near, np.float32(math.inf))
        while Fraction(float(after)) <= tau:
            near, after = after, np.nextafter(after, np.float32(math.inf))
        return Bracket(Fraction(float(near)), Fraction(float(after)))

    def slack(self, score: float) -> Fraction | None:
        """How much less than a location that fires another may have whose score is computed as no less.

        x - logit(sigmoid(x) - m) is convex in sigmoid(x) and x less it rises with x, so that it is largest where an
        attack leaves the location on the threshold, or at its clean score.

        Args:
            score: the location's.

        Returns:
            Rounded up; None where sigmoids no longer tell scores apart.
        """
        if not self.order:
            return Fraction(0)
        ends = (None if self.low is None else _slack(self.order, self.low), _slack(self.order, Fraction(score)))
        known = [end for end in ends if end is not None]
        return max(known) if len(known) == len(ends) else None


_NEVER = Fraction(2) ** 1100
"""Beyond every double."""


def _decimal(value: Fraction) -> Decimal:
    return _DIGITS.divide(Decimal(value.numerator), Decimal(value.denominator))


def _logit(p: Fraction) -> Fraction | float:
    """Within _ROOM, or an infinity."""
    if p <= 0 or p >= 1:
        return -math.inf if p <= 0 else math.inf
    return Fraction(_DIGITS.subtract(_DIGITS.ln(_decimal(p)), _DIGITS.ln(_decimal(1 - p))))


@lru_cache(maxsize=1 << 14)
def _slack(order: Fraction, x: Fraction) -> Fraction | None:
    if x <= -36:
        return None
    # From _LAST on the sigmoid is taken to be as far below 1 as it can be.
    p = 1 - Fraction(1, 10**86)
    if x < _LAST:
        p = Fraction(_DIGITS.divide(Decimal(1), _DIGITS.add(Decimal(1), _DIGITS.exp(-_decimal(x)))))
    found = _logit(p - order - Fraction(1, 10**55))
    return x - found + _ROOM if isinstance(found, Fraction) else None

"""The mean of many fractions of counts: compared quickly where doubles decide, exactly where they do not."""

from __future__ import annotations

from fractions import Fraction
from math import gcd

import numpy as np

from robspec.kernels.scores import IntArray

_SLACK = Fraction(1, 2**40)
"""More than rounding can change a mean in [0, 1]: 2^-53 for each quotient and 2^-53 for each of the less than 2^8
additions that a term passes through in numpy's sum by halves."""


class Mean:
    """A mean of fractions in [0, 1].

    Args:
        above: int64 [n], numerators.
        under: int64 [n], denominators, all positive.
    """

    def __init__(self, above: IntArray, under: IntArray) -> None:
        self._above, self._under = above, under

    def below(self, gamma: Fraction, *, strict: bool) -> bool:
        """Tell exactly whether the mean is at most gamma, or below it."""
        near = Fraction(float(np.mean(self._above / self._under)))
        if abs(near - gamma) > _SLACK:
            return near < gamma
        value = self.exact()
        return value < gamma if strict else value <= gamma

    def exact(self) -> Fraction:
        """Compute the mean exactly, adding up neighbours in halves so that most sums stay short."""
        units, at = np.unique(self._under, return_inverse=True)
        totals = np.zeros(units.size, dtype=np.int64)
        np.add.at(totals, at, self._above)
        terms = list(zip(totals.tolist(), units.tolist(), strict=True))
        while len(terms) > 1:
            paired = [_added(*pair) for pair in zip(terms[::2], terms[1::2], strict=False)]
            terms = paired + ([terms[-1]] if len(terms) % 2 else [])
        above, under = terms[0]
        return Fraction(above, under * self._above.size)


def _added(first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int]:
    """The sum of two fractions, over the least common multiple of their denominators."""
    (a, b), (c, d) = first, second
    common = gcd(b, d)
    return a * (d // common) + c * (b // common), b * (d // common)

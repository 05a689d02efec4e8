"""The arithmetic a network is run in: its unit roundoff, and what underflow may lose."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch

from robspec.lipschitz import directed


@dataclass(frozen=True, slots=True)
class Precision:
    """IEEE 754 binary arithmetic, rounding to nearest.

    Args:
        name: of the element type.
        digits: of the significand, the hidden one included.
        lowest: exponent of the smallest positive number.
        top: bound of the largest finite number.
    """

    name: str
    digits: int
    lowest: int
    top: float

    @property
    def unit(self) -> float:
        """Unit roundoff u, exact."""
        return math.ldexp(1.0, -self.digits)

    @property
    def tiny(self) -> float:
        """The smallest positive number: at least twice what one product or quotient loses where it underflows."""
        return math.ldexp(1.0, self.lowest)

    def gamma(self, terms: int) -> float:
        """Bound the relative error of so many roundings in a row.

        Args:
            terms: n >= 0.

        Returns:
            n u / (1 - n u), rounded up; infinity where n u >= 1.

        Source: Higham 2002, lemma 3.1.
        """
        exact = terms * Fraction(self.unit)
        return math.inf if exact >= 1 else directed.ceil_float(exact / (1 - exact))


DOUBLE = Precision("float64", 53, -1074, float(torch.finfo(torch.float64).max))
SINGLE = Precision("float32", 24, -149, float(torch.finfo(torch.float32).max))

"""Formulas over the confusion counts of one class: exact quotients of integer polynomials in TP, FP, FN and TN."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

COUNTS = ("TP", "FP", "FN", "TN")

Exponents: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Polynomial:
    """A polynomial in the counts TP, FP, FN, TN with integer coefficients.

    Args:
        terms: exponents of TP, FP, FN, TN and their non-zero coefficient, sorted by exponents, none twice;
            empty for 0.
    """

    terms: tuple[tuple[Exponents, int], ...] = ()

    def __post_init__(self) -> None:
        exponents = [e for e, _ in self.terms]
        proper = all(c != 0 and min(e) >= 0 for e, c in self.terms)
        if not proper or exponents != sorted(set(exponents)):
            raise ValueError("the terms of a polynomial are sorted, distinct and not zero")

    @classmethod
    def of(cls, terms: Mapping[Exponents, int] | Iterable[tuple[Exponents, int]]) -> Polynomial:
        """Collect terms in any order, equal exponents added up and zeros dropped."""
        found: dict[Exponents, int] = {}
        for exponents, coefficient in terms.items() if isinstance(terms, Mapping) else terms:
            found[exponents] = found.get(exponents, 0) + coefficient
        return cls(tuple(sorted((e, c) for e, c in found.items() if c != 0)))

    def at(self, tp: int, fp: int, fn: int, tn: int) -> int:
        """The exact value at given counts."""
        return sum(c * tp**i * fp**j * fn**k * tn**m for (i, j, k, m), c in self.terms)


@dataclass(frozen=True, slots=True)
class Ratio:
    """A quotient of two polynomials in the counts of one class.

    Args:
        numerator: above the bar.
        denominator: below the bar; not the zero polynomial.
    """

    numerator: Polynomial
    denominator: Polynomial

    def at(self, tp: int, fp: int, fn: int, tn: int) -> Fraction | None:
        """The exact value at given counts; None where the denominator is 0."""
        below = self.denominator.at(tp, fp, fn, tn)
        return None if below == 0 else Fraction(self.numerator.at(tp, fp, fn, tn), below)

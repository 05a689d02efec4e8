"""Formulas over the confusion counts of one class: exact quotients of integer polynomials in TP, FP, FN and TN."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

COUNTS = ("TP", "FP", "FN", "TN")
MAX_TERMS = 400
MAX_DEGREE = 12
MAX_BITS = 192
MAX_WORK = 2_000_000
"""What all formulas of a specification may take together, about a second for each million."""

Exponents: TypeAlias = tuple[int, int, int, int]


class FormulaTooLarge(ArithmeticError):
    """A formula has more terms, larger numbers or a higher degree than robspec computes with."""


class TooMuchWork(FormulaTooLarge):
    """All formulas together take more work than MAX_WORK."""


class Work:
    """What may still be spent on formulas: counted in terms, so that a limit is met at the same place everywhere."""

    def __init__(self, left: int = MAX_WORK) -> None:
        self.left = left
        self.cancelled: dict[tuple[Polynomial, Polynomial], tuple[Polynomial, Polynomial]] = {}

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what is computed within.

        Raises:
            TooMuchWork: nothing is left.
        """
        token = _work.set(self)
        try:
            yield
        finally:
            _work.reset(token)


_work: ContextVar[Work | None] = ContextVar("work", default=None)


def _spend(amount: int) -> None:
    work = _work.get()
    if work is not None:
        work.left -= amount
        if work.left < 0:
            raise TooMuchWork


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
        """Collect terms in any order, equal exponents added up and zeros dropped.

        Raises:
            FormulaTooLarge: more than MAX_TERMS terms, a degree above MAX_DEGREE, or a coefficient of over MAX_BITS.
        """
        found: dict[Exponents, int] = {}
        for exponents, coefficient in terms.items() if isinstance(terms, Mapping) else terms:
            found[exponents] = found.get(exponents, 0) + coefficient
        kept = tuple(sorted((e, c) for e, c in found.items() if c != 0))
        if len(kept) > MAX_TERMS or any(sum(e) > MAX_DEGREE or c.bit_length() > MAX_BITS for e, c in kept):
            raise FormulaTooLarge
        return cls(kept)

    @classmethod
    def constant(cls, value: int) -> Polynomial:
        """A number."""
        return cls.of({(0, 0, 0, 0): value})

    @classmethod
    def count(cls, *names: str) -> Polynomial:
        """The sum of counts, named as in COUNTS."""
        return cls.of((_unit(COUNTS.index(name)), 1) for name in names)

    def at(self, tp: int, fp: int, fn: int, tn: int) -> int:
        """The exact value at given counts."""
        return sum(c * tp**i * fp**j * fn**k * tn**m for (i, j, k, m), c in self.terms)

    def __add__(self, other: Polynomial) -> Polynomial:
        return Polynomial.of((*self.terms, *other.terms))

    def __sub__(self, other: Polynomial) -> Polynomial:
        return self + -other

    def __neg__(self) -> Polynomial:
        return Polynomial(tuple((e, -c) for e, c in self.terms))

    def __mul__(self, other: Polynomial) -> Polynomial:
        _spend(3 * len(self.terms) * len(other.terms) + 10)
        return Polynomial.of((_plus(e, f), c * d) for e, c in self.terms for f, d in other.terms)

    def __bool__(self) -> bool:
        return bool(self.terms)

    @property
    def coefficients(self) -> tuple[int, ...]:
        """The coefficients, in the order of the terms."""
        return tuple(c for _, c in self.terms)

    @property
    def degree(self) -> int:
        """The largest number of factors of a term; 0 of none."""
        return max((sum(e) for e, _ in self.terms), default=0)

    @property
    def content(self) -> int:
        """The greatest common divisor of the coefficients; 0 for 0."""
        return math.gcd(*self.coefficients)

    def divided(self, divisor: int) -> Polynomial:
        """Divide by a common divisor of the coefficients."""
        return Polynomial(tuple((e, c // divisor) for e, c in self.terms))

    def derivative(self, name: str) -> Polynomial:
        """The partial derivative by a count."""
        k = COUNTS.index(name)
        return Polynomial.of((_plus(e, _unit(k), -1), c * e[k]) for e, c in self.terms if e[k])

    def without(self, names: Iterable[str]) -> Polynomial:
        """The polynomial with some counts put to 0."""
        gone = [COUNTS.index(name) for name in names]
        return Polynomial(tuple((e, c) for e, c in self.terms if not any(e[k] for k in gone)))

    def complemented(self) -> Polynomial:
        """The same for the complement of the class, whose TP are the class's TN, and FP its FN."""
        return Polynomial.of(((e[3], e[2], e[1], e[0]), c) for e, c in self.terms)

    @property
    def linear(self) -> bool:
        """Whether every term is of degree one."""
        return all(sum(e) == 1 for e, _ in self.terms)

    @property
    def fixed(self) -> bool:
        """Whether it is a number, whatever the counts."""
        return all(sum(e) == 0 for e, _ in self.terms)


def _unit(k: int) -> Exponents:
    return (int(k == 0), int(k == 1), int(k == 2), int(k == 3))


def _plus(left: Exponents, right: Exponents, sign: int = 1) -> Exponents:
    a, b, c, d = (x + sign * y for x, y in zip(left, right, strict=True))
    return a, b, c, d


@dataclass(frozen=True, slots=True)
class Ratio:
    """A quotient of two polynomials in the counts of one class.

    Args:
        numerator: above the bar.
        denominator: below the bar; not the zero polynomial.
    """

    numerator: Polynomial
    denominator: Polynomial

    def __post_init__(self) -> None:
        if not self.denominator:
            raise ZeroDivisionError("a quotient by the zero polynomial")

    @classmethod
    def constant(cls, value: Fraction) -> Ratio:
        """A number."""
        return cls(Polynomial.constant(value.numerator), Polynomial.constant(value.denominator))

    def at(self, tp: int, fp: int, fn: int, tn: int) -> Fraction | None:
        """The exact value at given counts; None where the denominator is 0."""
        below = self.denominator.at(tp, fp, fn, tn)
        return None if below == 0 else Fraction(self.numerator.at(tp, fp, fn, tn), below)

    def __add__(self, other: Ratio) -> Ratio:
        if self.denominator == other.denominator:
            return reduced(self.numerator + other.numerator, self.denominator)
        above = self.numerator * other.denominator + other.numerator * self.denominator
        return reduced(above, self.denominator * other.denominator)

    def __neg__(self) -> Ratio:
        return Ratio(-self.numerator, self.denominator)

    def __mul__(self, other: Ratio) -> Ratio:
        return reduced(self.numerator * other.numerator, self.denominator * other.denominator)

    def __truediv__(self, other: Ratio) -> Ratio:
        return reduced(self.numerator * other.denominator, self.denominator * other.numerator)

    def complemented(self) -> Ratio:
        """The same formula over the counts of the complement of the class."""
        return Ratio(self.numerator.complemented(), self.denominator.complemented())


def reduced(numerator: Polynomial, denominator: Polynomial) -> Ratio:
    """A quotient in lowest terms, the first coefficient of the denominator positive.

    Args:
        numerator: above the bar.
        denominator: below the bar.

    Returns:
        The same value wherever the given denominator is not 0. Where it is, and the lowest terms still have a value,
        the quotient is continued there.

    Raises:
        ZeroDivisionError: the denominator is the zero polynomial.
        FormulaTooLarge: a polynomial is too large.
    """
    if not denominator:
        raise ZeroDivisionError("a quotient by the zero polynomial")
    if not numerator:
        return Ratio(Polynomial(), Polynomial.constant(1))
    if max(numerator.degree, denominator.degree) > 1:
        numerator, denominator = _cancelled(numerator, denominator)
    elif numerator.divided(numerator.content) in (
        denominator.divided(denominator.content),
        -denominator.divided(denominator.content),
    ):
        sign = 1 if numerator.coefficients[0] * denominator.coefficients[0] > 0 else -1
        return Ratio.constant(sign * Fraction(numerator.content, denominator.content))
    return lowest(numerator, denominator)


def lowest(numerator: Polynomial, denominator: Polynomial) -> Ratio:
    """A quotient of polynomials that share no factor but numbers, which are cancelled; signs as `reduced` has them.

    Args:
        numerator: above the bar.
        denominator: below the bar, not 0.
    """
    common = math.gcd(numerator.content, denominator.content)
    if sum(denominator.coefficients) < 0 or (sum(denominator.coefficients) == 0 and denominator.coefficients[-1] < 0):
        common = -common
    return Ratio(numerator.divided(common), denominator.divided(common))


def _cancelled(numerator: Polynomial, denominator: Polynomial) -> tuple[Polynomial, Polynomial]:
    """Cancel the greatest common divisor of two non-zero polynomials; once for the same ones where work counts."""
    work = _work.get()
    if work is None:
        return _coprime(numerator, denominator)
    if (numerator, denominator) not in work.cancelled:
        work.cancelled[numerator, denominator] = _coprime(numerator, denominator)
    return work.cancelled[numerator, denominator]


def _coprime(numerator: Polynomial, denominator: Polynomial) -> tuple[Polynomial, Polynomial]:
    import sympy

    # Euclid's algorithm and its kin: about quadratic in the terms, as measured.
    _spend(2 * (len(numerator.terms) + len(denominator.terms)) ** 2 + 2_000)
    symbols = sympy.symbols(COUNTS)
    above, below = (sympy.Poly(dict(p.terms), *symbols, domain="ZZ") for p in (numerator, denominator))
    _, above, below = sympy.cofactors(above, below)
    return _of_sympy(above), _of_sympy(below)


def _of_sympy(poly: object) -> Polynomial:
    terms = poly.as_dict()  # type: ignore[attr-defined]
    return Polynomial.of({(int(e[0]), int(e[1]), int(e[2]), int(e[3])): int(c) for e, c in terms.items()})


def factors(polynomial: Polynomial) -> tuple[int, tuple[tuple[Polynomial, int], ...]]:
    """The constant and the irreducible factors of a non-zero polynomial, each with its multiplicity."""
    import sympy

    _spend(8 * len(polynomial.terms) ** 2 + 5_000)
    symbols = sympy.symbols(COUNTS)
    constant, found = sympy.Poly(dict(polynomial.terms), *symbols, domain="ZZ").factor_list()
    return int(constant), tuple((_of_sympy(factor), int(times)) for factor, times in found)


def polynomial_text(polynomial: Polynomial, of: str = "") -> str:
    """Write a polynomial the way the language reads it.

    Args:
        polynomial: what to write.
        of: put behind every count, such as `[k]`.
    """
    if not polynomial:
        return "0"
    ordered = sorted(polynomial.terms, key=lambda t: (-sum(t[0]), [-x for x in t[0]]))
    words = []
    for exponents, coefficient in ordered:
        names = [f"{name}{of}" for name, power in zip(COUNTS, exponents, strict=True) for _ in range(power)]
        size = [] if abs(coefficient) == 1 and names else [str(abs(coefficient))]
        sign = "-" if coefficient < 0 else "+"
        words.append(f"{sign} {' * '.join([*size, *names])}")
    text = " ".join(words)
    return text[2:] if text.startswith("+") else f"-{text[2:]}"


def ratio_text(ratio: Ratio, of: str = "") -> str:
    """Write a quotient the way the language reads it; `of` is put behind every count."""
    above, below = (polynomial_text(p, of) for p in (ratio.numerator, ratio.denominator))
    if ratio.denominator == Polynomial.constant(1):
        return above
    if len(ratio.numerator.terms) > 1:
        above = f"({above})"
    if len(ratio.denominator.terms) > 1 or " * " in below:
        below = f"({below})"
    return f"{above} / {below}"

"""Degradation conditions brought into the form `h REL offset + slope * h0`, by exact algebra."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, TypeAlias

from robspec.semantics.objective import Threshold
from robspec.semantics.relation import Relation
from robspec.syntax import ast
from robspec.syntax.walk import operands

if TYPE_CHECKING:
    import sympy

MAX_DEGREE = 6
MAX_LEAVES = 200
_GRID = [Fraction(k, 20) for k in range(20, -1, -1)]
_CLEAN = [Fraction(1), Fraction(4, 5), Fraction(1, 2), Fraction(1, 5), Fraction(0)]


class Variable(enum.Enum):
    """The two unknowns of a condition: the metric under attack, and its clean value."""

    H = "h"
    H0 = "h0"


Leaf: TypeAlias = Callable[[ast.Expr], Fraction | Variable | None]
_Terms: TypeAlias = dict[tuple[int, int], Fraction]


@dataclass(frozen=True, slots=True)
class Inverted:
    """The condition as `h REL threshold`."""

    relation: Relation
    threshold: Threshold


@dataclass(frozen=True, slots=True)
class Independent:
    """The condition does not depend on h."""


@dataclass(frozen=True, slots=True)
class NotClosed:
    """A better value satisfies the condition and a worse one does not.

    Args:
        satisfied: a value of h that satisfies it.
        worse: a worse value that does not.
        clean: the clean value both are taken at, or None where it does not matter.
    """

    satisfied: Fraction
    worse: Fraction
    clean: Fraction | None


@dataclass(frozen=True, slots=True)
class Unsupported:
    """Perhaps downward closed, but not of the form that can be inverted; `reason` ends a sentence."""

    reason: str


Outcome: TypeAlias = Inverted | Independent | NotClosed | Unsupported


def invert(
    left: ast.Expr, comparator: ast.Comparator, right: ast.Expr, leaf: Leaf, *, lower_is_better: bool
) -> Outcome:
    """Solve one comparison for h.

    Args:
        left: left side.
        comparator: between them; `==` and `!=` are never invertible.
        right: right side.
        leaf: says of an expression that it is a constant, or h, or h0, or (None) composed of such.
        lower_is_better: polarity of the metric; says which of two values is the worse one.

    Returns:
        The inverted form, whatever its direction; or the reason why there is none.

    Source:
        MATH.md section 3.G.
    """
    if _leaves(left, leaf) + _leaves(right, leaf) > MAX_LEAVES:
        return Unsupported(f"it has more than {MAX_LEAVES} terms and factors")
    if max(_degree(left, leaf), _degree(right, leaf)) > MAX_DEGREE:
        return Unsupported(f"it multiplies more than {MAX_DEGREE} values of h or h0")
    terms = _terms(left, right, leaf)
    if terms is None:
        return Unsupported("it divides by an expression in h or h0")
    if not any(i for i, _ in terms):
        return Independent()
    linear = all(i + j <= 1 for i, j in terms)
    if linear and comparator not in ("==", "!="):
        factor = terms[1, 0]
        relation = Relation(comparator)
        return Inverted(
            relation if factor > 0 else relation.flipped,
            Threshold(-terms.get((0, 0), Fraction(0)) / factor, -terms.get((0, 1), Fraction(0)) / factor),
        )
    found = _counterexample(terms, comparator, lower_is_better=lower_is_better)
    if found is not None:
        return found
    if comparator in ("==", "!="):
        return Unsupported(f"`{comparator}` is not a threshold")
    if all(i <= 1 for i, _ in terms):
        return Unsupported("its threshold is not of the form a + b * h0")
    return Unsupported("it is not linear in h")


def _degree(expr: ast.Expr, leaf: Leaf) -> int:
    """An upper bound on the degree, without expanding anything."""
    known = leaf(expr)
    if known is not None:
        return int(isinstance(known, Variable))
    parts = [_degree(part, leaf) for part in operands(expr)]
    return sum(parts) if isinstance(expr, ast.Product) else max(parts, default=0)


def _leaves(expr: ast.Expr, leaf: Leaf) -> int:
    """How many constants and variables an expression is composed of."""
    return 1 if leaf(expr) is not None else sum(_leaves(part, leaf) for part in operands(expr))


def _terms(left: ast.Expr, right: ast.Expr, leaf: Leaf) -> _Terms | None:
    """The coefficients of left - right by powers of (h, h0); None for a quotient that is no polynomial."""
    sides = _affine(left, leaf), _affine(right, leaf)
    if sides[0] is not None and sides[1] is not None:
        summed = {power: sides[0].get(power, Fraction(0)) - sides[1].get(power, Fraction(0)) for power in _AFFINE}
        return {power: value for power, value in summed.items() if value != 0}
    import sympy

    symbols = {Variable.H: sympy.Symbol("h"), Variable.H0: sympy.Symbol("h0")}
    difference = _symbolic(left, leaf, symbols) - _symbolic(right, leaf, symbols)
    try:
        polynomial = sympy.Poly(difference, *symbols.values(), domain="QQ")
    except sympy.PolynomialError:
        return None
    return {(int(i), int(j)): Fraction(int(c.p), int(c.q)) for (i, j), c in polynomial.as_dict().items() if c != 0}


_AFFINE = ((0, 0), (1, 0), (0, 1))


def _affine(expr: ast.Expr, leaf: Leaf) -> _Terms | None:
    """The coefficients of an expression that multiplies and divides by constants alone; None for any other."""
    known = leaf(expr)
    if isinstance(known, Variable):
        return {(1, 0) if known is Variable.H else (0, 1): Fraction(1)}
    if known is not None:
        return {(0, 0): Fraction(known)}
    if isinstance(expr, ast.Negative):
        return _scaled(_affine(expr.operand, leaf), Fraction(-1))
    if isinstance(expr, ast.Sum):
        total = _affine(expr.first, leaf)
        for sign, term in expr.rest:
            value = _scaled(_affine(term, leaf), Fraction(1 if sign == "+" else -1))
            if total is None or value is None:
                return None
            total = {power: total.get(power, Fraction(0)) + value.get(power, Fraction(0)) for power in _AFFINE}
        return total
    if not isinstance(expr, ast.Product):
        return None
    product = _affine(expr.first, leaf)
    for operator, factor in expr.rest:
        value = _affine(factor, leaf)
        constant = None if value is None else _constant(value)
        known = None if product is None else _constant(product)
        if operator == "*" and constant is None and known is not None:
            product, constant = value, known
        if constant is None or (operator != "*" and constant == 0):
            return None
        product = _scaled(product, constant if operator == "*" else 1 / constant)
    return product


def _constant(terms: _Terms) -> Fraction | None:
    """The number that terms amount to; None where h or h0 is among them."""
    return terms.get((0, 0), Fraction(0)) if not any(c for power, c in terms.items() if power != (0, 0)) else None


def _scaled(terms: _Terms | None, factor: Fraction) -> _Terms | None:
    return None if terms is None else {power: factor * value for power, value in terms.items()}


def _symbolic(expr: ast.Expr, leaf: Leaf, symbols: dict[Variable, sympy.Symbol]) -> sympy.Expr:
    import sympy

    known = leaf(expr)
    if isinstance(known, Variable):
        return symbols[known]
    if known is not None:
        return sympy.Rational(known.numerator, known.denominator)
    if isinstance(expr, ast.Negative):
        return -_symbolic(expr.operand, leaf, symbols)
    if isinstance(expr, ast.Sum):
        total = _symbolic(expr.first, leaf, symbols)
        for sign, term in expr.rest:
            value = _symbolic(term, leaf, symbols)
            total = total + value if sign == "+" else total - value
        return total
    if isinstance(expr, ast.Product):
        total = _symbolic(expr.first, leaf, symbols)
        for operator, factor in expr.rest:
            value = _symbolic(factor, leaf, symbols)
            total = total * value if operator == "*" else total / value
        return total
    raise TypeError(f"{type(expr).__name__} is neither a constant nor a variable")


def _value(terms: _Terms, h: Fraction, clean: Fraction) -> Fraction:
    return sum((c * h**i * clean**j for (i, j), c in terms.items()), Fraction(0))


def _holds(comparator: ast.Comparator, difference: Fraction) -> bool:
    if comparator == "==":
        return difference == 0
    if comparator == "!=":
        return difference != 0
    return Relation(comparator).holds(difference, Fraction(0))


def _candidates(terms: _Terms, clean: Fraction) -> Iterator[Fraction]:
    """The values of h worth trying: a grid, and the exact threshold of a condition linear in h."""
    if all(i <= 1 for i, _ in terms):
        factor = sum((c * clean**j for (i, j), c in terms.items() if i == 1), Fraction(0))
        rest = sum((c * clean**j for (i, j), c in terms.items() if i == 0), Fraction(0))
        if factor != 0 and 0 <= -rest / factor <= 1:
            yield -rest / factor
    yield from _GRID


def _counterexample(terms: _Terms, comparator: ast.Comparator, *, lower_is_better: bool) -> NotClosed | None:
    """Two values of h, the better one satisfying the condition and the worse one not."""
    relative = any(j for _, j in terms)
    for clean in _CLEAN if relative else _CLEAN[:1]:
        holds = {
            h: _holds(comparator, _value(terms, h, clean)) for h in sorted(_candidates(terms, clean), reverse=True)
        }
        best_first: Iterable[Fraction] = reversed(holds) if lower_is_better else holds
        satisfied = None
        for h in best_first:
            if holds[h] and satisfied is None:
                satisfied = h
            elif not holds[h] and satisfied is not None:
                return NotClosed(satisfied, h, clean if relative else None)
    return None

"""Exact evaluation of constant arithmetic, remembering what could not be evaluated and why."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from robspec.diagnostics import Span
from robspec.syntax import ast

MAX_BITS = 4096
NOT_FINITE = frozenset({"nan", "inf", "infinity", "infty"})


class Trouble(enum.Enum):
    """Why an expression has no value."""

    UNKNOWN = "unknown name"
    NOT_FINITE = "not a finite number"
    ZERO_DIVISION = "division by zero"
    TOO_LARGE = "too large"
    METRIC = "a metric where a number belongs"


@dataclass(frozen=True, slots=True)
class Found:
    """A trouble, its place, and the word it is about."""

    trouble: Trouble
    span: Span
    word: str = ""


class Constants:
    """Values of constant expressions; a name means a parameter declared above.

    Args:
        params: the first declaration of every parameter.
        overrides: values that replace declared ones.
    """

    def __init__(self, params: Mapping[str, ast.Param], overrides: Mapping[str, Fraction]) -> None:
        self.params = params
        self.overrides = overrides
        self.found: dict[Found, None] = {}
        self.used: set[str] = set()
        self._known: dict[int, Fraction | None] = {}
        self._kept: list[ast.Expr] = []
        for param in params.values():
            self.value(param.value)

    def value(self, expr: ast.Expr) -> Fraction | None:
        """Evaluate an expression; None when it has no value, with the reason recorded."""
        if id(expr) not in self._known:
            self._kept.append(expr)
            self._known[id(expr)] = self._evaluate(expr)
        return self._known[id(expr)]

    def _trouble(self, trouble: Trouble, expr: ast.Node, word: str = "") -> None:
        self.found[Found(trouble, expr.span, word)] = None

    def _evaluate(self, expr: ast.Expr) -> Fraction | None:
        if isinstance(expr, ast.Number):
            return expr.value
        if isinstance(expr, ast.Name):
            return self._name(expr)
        if isinstance(expr, ast.Negative):
            value = self.value(expr.operand)
            return None if value is None else -value
        if isinstance(expr, (ast.Sum, ast.Product)):
            return self._chain(expr)
        self._trouble(Trouble.METRIC, expr)
        return None

    def _name(self, expr: ast.Name) -> Fraction | None:
        param = self.params.get(expr.id)
        if param is not None:
            self.used.add(expr.id)
            if param.span.end <= expr.span.start:
                return self.overrides.get(expr.id, self.value(param.value))
        not_finite = expr.id.lower() in NOT_FINITE
        self._trouble(Trouble.NOT_FINITE if not_finite else Trouble.UNKNOWN, expr, expr.id)
        return None

    def _chain(self, expr: ast.Sum | ast.Product) -> Fraction | None:
        total = self.value(expr.first)
        for sign, part in expr.rest:
            value = self.value(part)
            if total is None or value is None:
                total = None
            elif sign == "/" and value == 0:
                self._trouble(Trouble.ZERO_DIVISION, part)
                total = None
            else:
                total = _apply(sign, total, value)
                if max(total.numerator.bit_length(), total.denominator.bit_length()) > MAX_BITS:
                    self._trouble(Trouble.TOO_LARGE, expr)
                    return None
        return total


def _apply(sign: str, left: Fraction, right: Fraction) -> Fraction:
    if sign == "+":
        return left + right
    if sign == "-":
        return left - right
    return left * right if sign == "*" else left / right

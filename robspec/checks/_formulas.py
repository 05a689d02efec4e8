"""The value of a metric's formula for given classes and numbers, as a sum of one-class formulas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from robspec.checks._constants import Constants, Found, Trouble
from robspec.checks._definitions import PIXELS, Definition, Definitions, Problem
from robspec.diagnostics import Span
from robspec.semantics.formula import COUNTS, FormulaTooLarge, TooMuchWork
from robspec.semantics.separable import Algebra, NotSeparable, Separable
from robspec.syntax import ast

MAX_NESTED = 50


class Refused(Exception):
    """A formula has no value; carries the problem, or None where it is reported elsewhere."""

    def __init__(self, problem: Problem | None) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(frozen=True)
class _Scope:
    """What the parameters of a definition mean, and where to report problems of a built-in formula."""

    numbers: Mapping[str, Fraction]
    classes: Mapping[str, tuple[str, ...]]
    site: Span | None
    depth: int


class Formulas:
    """Values of formulas; each definition is evaluated once for the same classes and numbers.

    Args:
        definitions: the metrics there are.
        constants: the constants of the specification.
        classes: the classes of the model, or None while unknown.
    """

    def __init__(self, definitions: Definitions, constants: Constants, classes: tuple[str, ...] | None) -> None:
        self._definitions = definitions
        self._constants = constants
        self._algebra = Algebra(classes)
        self._known: dict[tuple[str, tuple[Fraction, ...], tuple[tuple[str, ...], ...]], Separable] = {}

    def value(
        self,
        definition: Definition,
        numbers: tuple[Fraction, ...],
        classes: tuple[tuple[str, ...], ...],
        site: Span,
        depth: int = 0,
    ) -> Separable:
        """Put numbers and classes into a metric's formula.

        Args:
            definition: the metric.
            numbers: one for each argument.
            classes: one class set for each parameter.
            site: where the metric is used.
            depth: how many formulas this one is used in.

        Returns:
            A sum of one-class formulas.

        Raises:
            Refused: it has no such value.
        """
        key = (definition.info.name, numbers, classes)
        if key not in self._known:
            if depth > MAX_NESTED:
                raise Refused(too_large(site))
            info = definition.info
            scope = _Scope(
                dict(zip(info.arguments, numbers, strict=True)),
                dict(zip(info.parameters, classes, strict=True)),
                None if definition.own else site,
                depth,
            )
            self._known[key] = self._evaluate(definition.formula, scope)
        return self._known[key]

    def _evaluate(self, expr: ast.Expr, scope: _Scope) -> Separable:
        try:
            return self._node(expr, scope)
        except NotSeparable:
            message = "this multiplies or divides counts of different classes"
            mend = "add up metrics of one class each: `(iou[a] + iou[b]) / 2`"
            note = "the worst case is known for formulas of one class and for sums of them (MATH.md 3.C, 3.D)"
            raise Refused(Problem("E0141", scope.site or expr.span, message, mend, (note,))) from None
        except FormulaTooLarge as found:
            raise Refused(too_large(scope.site or expr.span, found)) from None

    def _node(self, expr: ast.Expr, scope: _Scope) -> Separable:
        if isinstance(expr, ast.Number):
            return self._algebra.number(expr.value)
        if isinstance(expr, ast.Name):
            return self._name(expr, scope)
        if isinstance(expr, ast.MetricReference):
            return self._reference(expr, scope)
        if isinstance(expr, ast.Negative):
            return self._algebra.negate(self._evaluate(expr.operand, scope))
        if isinstance(expr, ast.Sum):
            total = self._evaluate(expr.first, scope)
            for sign, term in expr.rest:
                value = self._evaluate(term, scope)
                total = self._algebra.add(total, value if sign == "+" else self._algebra.negate(value))
            return total
        if isinstance(expr, ast.Product):
            return self._product(expr, scope)
        raise Refused(None)

    def _product(self, expr: ast.Product, scope: _Scope) -> Separable:
        total = self._evaluate(expr.first, scope)
        for operator, factor in expr.rest:
            value = self._evaluate(factor, scope)
            if operator == "*":
                total = self._algebra.multiply(total, value)
                continue
            if not value.parts:
                self._constants.found[Found(Trouble.ZERO_DIVISION, scope.site or factor.span)] = None
                raise Refused(None)
            total = self._algebra.divide(total, value)
        return total

    def _name(self, expr: ast.Name, scope: _Scope) -> Separable:
        if expr.id in scope.numbers:
            return self._algebra.number(scope.numbers[expr.id])
        if expr.id == PIXELS:
            return self._algebra.pixels()
        if expr.id not in self._constants.params and self._definitions.find(expr.id) is not None:
            return self._reference(ast.MetricReference(expr, span=expr.span), scope)
        value = self._constants.value(expr)
        if value is None:
            raise Refused(None)
        return self._algebra.number(value)

    def _reference(self, expr: ast.MetricReference, scope: _Scope) -> Separable:
        sets = [scope.classes.get(entry.text, (entry.text,)) for entry in expr.classes]
        merged = tuple(sorted({name for names in sets for name in names}))
        if expr.name.id in COUNTS:
            return self._algebra.count(expr.name.id, merged)
        definition = self._definitions.find(expr.name.id)
        if definition is None:
            raise Refused(None)
        numbers = []
        for argument in expr.arguments:
            value = self._evaluate(argument, scope).constant
            if value is None:
                raise Refused(None)
            numbers.append(value)
        parameters = definition.info.parameters
        classes = (merged,) if len(parameters) == 1 else tuple(sets)[: len(parameters)]
        return self.value(definition, tuple(numbers), classes, scope.site or expr.span, scope.depth + 1)


def too_large(span: Span, why: FormulaTooLarge | None = None) -> Problem:
    """Say that a formula, or all of them together, are beyond what is computed with."""
    if isinstance(why, TooMuchWork):
        message = "the formulas of this specification, up to here, take too much work together"
        return Problem("E0141", span, message, "write fewer or simpler formulas, or several specifications", ())
    message = "this formula is too large once it is written as a quotient of polynomials"
    return Problem("E0141", span, message, "write a simpler formula", ())

"""Degradation conditions with their unknowns resolved: which metric a comparison bounds, and from where."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from robspec.checks._constants import Constants
from robspec.diagnostics import Span
from robspec.metrics import MetricInfo
from robspec.semantics import kappa
from robspec.semantics.kappa import Variable
from robspec.syntax import ast, write
from robspec.syntax.walk import operands

H, H0 = "h", "h0"


class Fault(enum.Enum):
    """Why a comparison bounds no metric."""

    NO_METRIC = "no metric"
    TWO_METRICS = "two metrics"
    FOREIGN_CLEAN = "clean value of another metric"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a comparison is about.

    Args:
        metric: the metric it bounds; None when that cannot be told.
        by_name: whether the metric is named in the comparison rather than called h.
        faults: what is wrong with it, each with its place and word.
    """

    metric: ast.MetricReference | None
    by_name: bool
    faults: tuple[tuple[Fault, Span, str], ...]


class Conditions:
    """Answers about comparisons.

    Args:
        constants: the constants of the specification.
        metrics: the metrics there are, by name and alias.
    """

    def __init__(self, constants: Constants, metrics: Mapping[str, MetricInfo]) -> None:
        self.constants = constants
        self.metrics = metrics
        self._outcomes: dict[tuple[int, ast.MetricReference | None], kappa.Outcome | None] = {}

    def _atoms(self, expr: ast.Expr) -> Iterator[ast.Expr]:
        parts = operands(expr)
        if not parts:
            yield expr
        for part in parts:
            yield from self._atoms(part)

    def atoms(self, comparison: ast.Comparison) -> Iterator[ast.Expr]:
        """The names, numbers, metrics and clean values a comparison is composed of, but for a sweep's."""
        yield from self._atoms(comparison.left)
        if not isinstance(comparison.right, ast.Sweep):
            yield from self._atoms(comparison.right)

    def named(self, expr: ast.Expr) -> ast.MetricReference | None:
        """The metric an atom names, if it names one."""
        if isinstance(expr, ast.MetricReference):
            return expr
        if isinstance(expr, ast.Name) and expr.id in self.metrics and expr.id not in self.constants.params:
            return ast.MetricReference(expr, span=expr.span)
        return None

    def bare_metrics(self, comparison: ast.Comparison) -> list[ast.MetricReference]:
        """The metrics written without arguments and classes, which the tree holds as names."""
        atoms = [a for a in self.atoms(comparison) if isinstance(a, ast.Name)]
        return [found for a in atoms if (found := self.named(a)) is not None]

    def is_unknown_of(self, expr: ast.Expr, name: str) -> bool:
        """Whether an atom is `h` or `h0`."""
        return isinstance(expr, ast.Name) and expr.id == name

    def read(self, comparison: ast.Comparison, declared: ast.MetricReference | None) -> Reading:
        """Find the metric a comparison bounds.

        Args:
            comparison: the comparison.
            declared: the metric of the property, which `h` stands for.
        """
        atoms = list(self.atoms(comparison))
        plain = [a for a in atoms if self.is_unknown_of(a, H)]
        named = [m for a in atoms if (m := self.named(a)) is not None]
        faults: list[tuple[Fault, Span, str]] = []
        if not plain and not named:
            return Reading(None, False, ((Fault.NO_METRIC, comparison.span, ""),))
        others = [m for m in named if m != named[0]]
        if others or (plain and named and named[0] != declared):
            place = others[0].span if others else named[0].span
            faults.append((Fault.TWO_METRICS, place, ""))
        subject = declared if plain else named[0]
        for atom in atoms:
            if isinstance(atom, ast.Clean) and atom.metric != subject:
                faults.append((Fault.FOREIGN_CLEAN, atom.span, f"clean({write.metric(atom.metric)})"))
            elif self.is_unknown_of(atom, H0) and subject != declared:
                faults.append((Fault.FOREIGN_CLEAN, atom.span, H0))
        return Reading(subject, not plain, tuple(faults))

    def _leaf(self, expr: ast.Expr) -> Fraction | Variable | None:
        if self.is_unknown_of(expr, H) or self.named(expr) is not None:
            return Variable.H
        if self.is_unknown_of(expr, H0) or isinstance(expr, ast.Clean):
            return Variable.H0
        return None if self._varies(expr) else self.constants.value(expr)

    def _varies(self, expr: ast.Expr) -> bool:
        return any(
            isinstance(a, ast.Clean)
            or self.named(a) is not None
            or self.is_unknown_of(a, H)
            or self.is_unknown_of(a, H0)
            for a in self._atoms(expr)
        )

    def constant_parts(self, comparison: ast.Comparison) -> Iterator[ast.Expr]:
        """The largest constant sub-expressions of a comparison, in the order written."""
        sides = [comparison.left]
        if isinstance(comparison.right, ast.Sweep):
            yield from (comparison.right.start, comparison.right.stop, comparison.right.points)
        else:
            sides.append(comparison.right)
        while sides:
            expr = sides.pop()
            if not self._varies(expr):
                yield expr
            else:
                sides.extend(operands(expr))

    def outcome(
        self, comparison: ast.Comparison, declared: ast.MetricReference | None, right: ast.Expr | None = None
    ) -> kappa.Outcome | None:
        """Invert a comparison.

        Args:
            comparison: the comparison.
            declared: the metric of the property.
            right: takes the place of the right side; needed for a point of a sweep.

        Returns:
            The outcome, or None when the comparison has a fault or a constant without a value.
        """
        if right is not None:
            return self._invert(comparison, declared, right)
        key = (id(comparison), declared)
        if key not in self._outcomes:
            sweep = comparison.right
            side = sweep.start if isinstance(sweep, ast.Sweep) else sweep
            self._outcomes[key] = self._invert(comparison, declared, side)
        return self._outcomes[key]

    def _invert(
        self, comparison: ast.Comparison, declared: ast.MetricReference | None, right: ast.Expr
    ) -> kappa.Outcome | None:
        reading = self.read(comparison, declared)
        if reading.faults or reading.metric is None:
            return None
        info = self.metrics.get(reading.metric.name.id)
        if info is None or any(self.constants.value(e) is None for e in self.constant_parts(comparison)):
            return None
        return kappa.invert(
            comparison.left, comparison.relation, right, self._leaf, lower_is_better=info.lower_is_better
        )

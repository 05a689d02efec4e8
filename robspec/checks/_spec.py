"""A parsed specification with its names resolved and its constants evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import cached_property
from typing import Any, TypeVar

from robspec import tasks
from robspec.checks._conditions import Conditions
from robspec.checks._constants import Constants
from robspec.checks._definitions import Definitions, Problem
from robspec.checks._derive import Derivations
from robspec.ir.types import Metric
from robspec.metrics import MetricInfo
from robspec.syntax import ast
from robspec.syntax.walk import constants_of, descend
from robspec.tasks import Task

_Kind = TypeVar("_Kind", bound=ast.Node)


class Spec:
    """Everything a check may ask about a specification; a None answer means that another check reports why.

    Args:
        file: the tree, perhaps with damage.
        overrides: parameter values from the command line.
        use: the data block that takes the place of what the file says to `use`, or None.
    """

    def __init__(
        self, file: ast.File, overrides: Mapping[str, Fraction] | None = None, use: str | None = None
    ) -> None:
        self.file = file
        self.use = use
        self.overrides = dict(overrides or {})
        self.constants = Constants(self.params, self.overrides)
        objects = self.task is not None and self.task.objects
        own = self._declared(ast.Definition)
        self.definitions = Definitions(own, self.constants, self.classes, objects=objects)
        self.metrics: Mapping[str, MetricInfo] = self.definitions.infos
        self.conditions = Conditions(self.constants, self.metrics)
        self._derivations = Derivations(self.definitions, self.constants, self.classes, self.task)
        self._evaluate_all()

    def _evaluate_all(self) -> None:
        """Meet every constant and every metric once, so that all that have no value are known."""
        blocks = [s for s in self.file.statements if not isinstance(s, ast.Definition)]
        for node in (n for block in blocks for n in descend(block)):
            if isinstance(node, ast.Comparison):
                for part in self.conditions.constant_parts(node):
                    self.value(part)
            elif not isinstance(node, (ast.Number, ast.Name, ast.Negative, ast.Sum, ast.Product)):
                for part in constants_of(node):
                    self.value(part)
        for block in self.properties:
            for use in self.metric_uses(block):
                self.derived(use)
        for use in self.definitions.examples([u for block in self.properties for u in self.metric_uses(block)]):
            self.derived(use)

    def derived(self, use: ast.MetricReference) -> Metric | None:
        """A metric as it is used, with all that is proved of it; None where something is wrong."""
        return self._derivations.metric(use)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the metrics, each under the code of the check that reports it."""
        return tuple(self.definitions.problems)

    def _declared(self, kind: type[ast.Node]) -> tuple[Any, ...]:
        return tuple(s for s in self.file.statements if isinstance(s, kind))

    @cached_property
    def params(self) -> dict[str, ast.Param]:
        """The first declaration of every parameter."""
        found: dict[str, ast.Param] = {}
        for param in self._declared(ast.Param):
            found.setdefault(param.name.id, param)
        return found

    @cached_property
    def model(self) -> ast.Model | None:
        """The first model block that says what all models are like."""
        return next((m for m in self._declared(ast.Model) if m.file is None), None)

    @cached_property
    def named_models(self) -> tuple[ast.Model, ...]:
        """Every model block of one file alone, repeated names included."""
        return tuple(m for m in self._declared(ast.Model) if m.file is not None)

    @property
    def claims(self) -> tuple[ast.Lipschitz, ...]:
        """Every claim, of whatever model."""
        return tuple(s for m in self._declared(ast.Model) for s in m.statements if isinstance(s, ast.Lipschitz))

    @cached_property
    def detector(self) -> ast.Detector | None:
        """The first detector block."""
        return next(iter(self._declared(ast.Detector)), None)

    @cached_property
    def privacy(self) -> ast.Privacy | None:
        """The first privacy block."""
        return next(iter(self._declared(ast.Privacy)), None)

    def of_detector(self, kind: type[_Kind]) -> _Kind | None:
        """The first statement of a kind in the detector block."""
        return self.statement(self.detector, kind)

    @property
    def boxes_mode(self) -> str:
        """What the specification says of boxes under attack: "free" where it says nothing."""
        statement = self.of_detector(ast.BoxesStatement)
        return "free" if statement is None else statement.name.id

    @cached_property
    def data(self) -> ast.Data | None:
        """The data block that properties are about which do not say: the one `use` names, else the first."""
        use = self.statement_of_file(ast.Use)
        wanted = self.use or (None if use is None else use.name.id)
        return next((d for d in self.data_blocks if wanted in (None, d.name.id)), next(iter(self.data_blocks), None))

    def data_of(self, block: ast.Property) -> ast.Data | None:
        """The data block a property is about."""
        use = self.statement(block, ast.Use)
        named = None if use is None else next((d for d in self.data_blocks if d.name.id == use.name.id), None)
        return named or self.data

    @cached_property
    def used_data(self) -> tuple[ast.Data, ...]:
        """The data blocks that properties are about, `data` first where it is one of them."""
        found = {id(d): d for d in map(self.data_of, self.properties) if d is not None}
        return tuple(sorted(found.values(), key=lambda d: d is not self.data))

    @cached_property
    def data_blocks(self) -> tuple[ast.Data, ...]:
        """Every data block, repeated names included."""
        return self._declared(ast.Data)

    @cached_property
    def properties(self) -> tuple[ast.Property, ...]:
        """Every property block, repeated names included."""
        return self._declared(ast.Property)

    @property
    def asked(self) -> tuple[ast.Property, ...]:
        """The properties that are asked: with a `use` from outside, those about that block."""
        return (
            self.properties if self.use is None else tuple(p for p in self.properties if self.data_of(p) is self.data)
        )

    def statement_of_file(self, kind: type[_Kind]) -> _Kind | None:
        """The first top-level statement of a kind."""
        return next(iter(self._declared(kind)), None)

    def param_value(self, name: str) -> Fraction | None:
        """A parameter's value, overridden or declared."""
        return self.overrides.get(name, self.value(self.params[name].value))

    def line(self, node: ast.Node) -> int:
        """The line a node starts on; 0 for a tree that was built."""
        return 0 if self.file.source is None else self.file.source.line(node.span.start)

    @staticmethod
    def statement(block: ast.Block | None, kind: type[_Kind]) -> _Kind | None:
        """The first statement of a kind in a block."""
        return None if block is None else next((s for s in block.statements if isinstance(s, kind)), None)

    def of_model(self, kind: type[_Kind]) -> _Kind | None:
        """The first statement of a kind in the model block."""
        return self.statement(self.model, kind)

    def damaged(self, node: ast.Node) -> bool:
        """Whether a syntax error was skipped within a node."""
        return any(node.span.start <= offset <= node.span.end for offset in self.file.damage)

    @cached_property
    def damaged_outside(self) -> bool:
        """Whether a syntax error was skipped outside every block, where a whole statement may be missing."""
        kinds = (ast.Model, ast.Detector, ast.Privacy, ast.Data, ast.Property)
        blocks = [block for kind in kinds for block in self._declared(kind)]
        return any(not any(b.span.start <= offset <= b.span.end for b in blocks) for offset in self.file.damage)

    def value(self, expr: ast.Expr) -> Fraction | None:
        """The exact value of a constant expression."""
        return self.constants.value(expr)

    def values(self, exprs: tuple[ast.Expr, ...]) -> tuple[Fraction, ...] | None:
        """The exact values of several constant expressions, or None if one has none."""
        found = [self.value(e) for e in exprs]
        return None if None in found else tuple(v for v in found if v is not None)

    def level(self, level: ast.Level) -> Fraction | None:
        """A share as a fraction of one."""
        value = self.value(level.value)
        return value / 100 if value is not None and level.percent else value

    def points(self, sweep: ast.Sweep) -> tuple[Fraction, ...] | None:
        """The values of a sweep, both ends included; None when it is malformed."""
        start, stop, count = (self.value(e) for e in (sweep.start, sweep.stop, sweep.points))
        if start is None or stop is None or count is None:
            return None
        if count.denominator != 1 or not 2 <= count <= MAX_POINTS or start >= stop:
            return None
        step = (stop - start) / (count - 1)
        return tuple(start + k * step for k in range(int(count)))

    @cached_property
    def classes(self) -> tuple[str, ...] | None:
        """The class names in index order; of scores, the normal and the anomalous side."""
        sides = self.of_model(ast.Annotation)
        if sides is not None:
            return sides.normal.text, sides.anomalous.text
        statement = self.of_model(ast.Classes)
        return None if statement is None else tuple(c.text for c in statement.names)

    @cached_property
    def task(self) -> Task | None:
        """What the model is for, from its output; None where that cannot be told."""
        output = self.of_model(ast.Output)
        return (
            None if output is None else tasks.of(len(output.shape), sides=self.of_model(ast.Annotation) is not None)
        )

    @cached_property
    def input_range(self) -> tuple[Fraction, Fraction] | None:
        """The declared input range, low and high."""
        statement = self.of_model(ast.Input)
        found = None if statement is None else self.values(statement.range)
        return (found[0], found[1]) if found is not None and len(found) == 2 else None

    def shape(self, exprs: tuple[ast.Expr, ...]) -> tuple[int, int, int] | None:
        """A shape of three positive integers, or None when it is malformed."""
        found = self._sides(exprs)
        return None if found is None or len(found) != 3 else (found[0], found[1], found[2])

    def output_shape(self, exprs: tuple[ast.Expr, ...]) -> tuple[int, ...] | None:
        """A shape of one to three positive integers, or None when it is malformed."""
        found = self._sides(exprs)
        return None if found is None or len(found) not in (1, 2, 3) else found

    def _sides(self, exprs: tuple[ast.Expr, ...]) -> tuple[int, ...] | None:
        found = self.values(exprs)
        if found is None or any(v.denominator != 1 or not 1 <= v <= MAX_SIDE for v in found):
            return None
        return tuple(int(v) for v in found)

    def metric(self, reference: ast.MetricReference) -> MetricInfo | None:
        """The metric a reference names."""
        return self.metrics.get(reference.name.id)

    def range_of(self, reference: ast.MetricReference | None) -> tuple[Fraction, Fraction] | None:
        """The proved ends of a metric's values; None where they are not known."""
        found = None if reference is None else self.derived(reference)
        return None if found is None or found.low is None or found.high is None else (found.low, found.high)

    def pooled(self, block: ast.Property) -> bool:
        """Whether a property asks about a metric of the whole data set rather than of each image."""
        uses = [self.metric_of(block)] if self.asks_radius(block) is not True else []
        uses += [self.conditions.read(c, self.metric_of(block)).metric for c in self.comparisons(block)]
        return any(u is not None and self.of_data_set(u) for u in uses)

    def of_data_set(self, use: ast.MetricReference) -> bool:
        """Whether a metric, as it is used, is of the whole data set rather than of each image."""
        info = self.metric(use)
        if info is not None and self.task is not None and self.task.objects:
            return use.adjective == "pooled" or info.items == "average_precision"
        if use.adjective == "pooled" or info is None or self.task is None or self.task.each:
            return use.adjective == "pooled"
        return info.scores or not info.items

    def metric_of(self, block: ast.Property) -> ast.MetricReference | None:
        """The metric a property declares."""
        statement = self.statement(block, ast.MetricStatement)
        return None if statement is None else statement.metric

    def comparisons(self, block: ast.Property) -> tuple[ast.Comparison, ...]:
        """The comparisons of a property's condition."""
        return tuple(n for n in descend(block) if isinstance(n, ast.Comparison))

    def asks_radius(self, block: ast.Property) -> bool | None:
        """Whether a property asks for a radius rather than a worst case; None when it is not clear."""
        budget, degraded = self.statement(block, ast.Budget), self.statement(block, ast.Degraded)
        if self.damaged(block) or (budget is None) == (degraded is None):
            return None
        return degraded is not None

    def info_of(self, block: ast.Property) -> MetricInfo | None:
        """What is known of the metric a property declares."""
        reference = self.metric_of(block)
        return None if reference is None else self.metric(reference)

    def requirements(self, block: ast.Property) -> tuple[ast.Require, ...]:
        """The requirements of a property."""
        return tuple(s for s in block.statements if isinstance(s, ast.Require))

    def metric_uses(self, block: ast.Property) -> tuple[ast.MetricReference, ...]:
        """Every reference to a metric in a property: declared, in its condition, or within `clean(...)`."""
        found = [n for n in descend(block) if isinstance(n, ast.MetricReference)]
        for condition in descend(block):
            if isinstance(condition, ast.Comparison):
                found.extend(self.conditions.bare_metrics(condition))
        return tuple(sorted(found, key=lambda r: r.span))


MAX_POINTS = 1_000
MAX_THRESHOLDS = 100
"""Points of a swept threshold: each is a search for a radius, some ten times the work of a budget."""
MAX_ANSWERS = 2_000
"""Points of all properties together, each as often as its property has requirements; a threshold counts ten times."""
MAX_SIDE = 1 << 20

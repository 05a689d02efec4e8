"""Metrics over objects found, missed and wrongly reported, image by image (DETECTION.md D2 and D3)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import partial

from robspec.bounds import _objects as ledgers
from robspec.bounds import search
from robspec.bounds.confusion import worst_value
from robspec.bounds.context import Context
from robspec.bounds.mislabelled import counts_of, ledger_of
from robspec.bounds.scene import Scene, reach_of
from robspec.bounds.search import Found
from robspec.ir.types import Metric
from robspec.kernels.detection import Ledger
from robspec.semantics.constant import Constant

ALWAYS_SOME_NEGATIVE = 1
"""Stands for the places where nothing is: no formula is over TN, and a definition over FP + TN always holds."""


def open_bound(metric: Metric, context: Context, constant: Constant) -> Bound:
    """Open a metric of objects on a batch."""
    return Bound(metric, context, constant)


class Bound:
    """A metric of objects on a batch of images.

    Args:
        metric: a formula over TP, FP and FN.
        context: the batch, with its boxes and objects.
        constant: Lipschitz constants of scores and boxes for the attack's norm.
    """

    def __init__(self, metric: Metric, context: Context, constant: Constant) -> None:
        self.metric, self.constant = metric, constant
        self._context = context
        self._detector, self._scenes = context.detections()
        self._classes = classes_of(metric, self._scenes)

    def clean(self) -> list[Fraction | None]:
        """Compute the clean values; None where the annotation does not define them."""
        return [self._value(i) for i in range(len(self._scenes))]

    def worst_case(self, budgets: Sequence[Fraction]) -> list[tuple[Fraction | None, ...]]:
        """Bound each image's value within each budget (Q1), never better than the true worst case."""
        return [
            tuple(None if not self._defined(i) else self._worst(i, eps) for eps in budgets)
            for i in range(len(self._scenes))
        ]

    def radius(self, gammas: Sequence[Sequence[Fraction | None]], *, strict: bool) -> list[tuple[Found, ...]]:
        """Bound each image's radius from below (Q2), by bisection: what is certain depends on the budget."""
        found: list[tuple[Found, ...]] = []
        for i, row in enumerate(gammas):
            value = self._value(i)
            if value is None:
                found.append((None,) * len(row))
                continue
            # An attack of any size can make all objects vanish and everything fire.
            tp, _, fn = self._counts(i)
            scene = self._scenes[i]
            every = scene.scores.shape[1] * len(self._classes)
            last = value_at(self.metric, 0, every, tp + fn)
            hopeless = worst_value(self.metric) if last is None else last
            if not self.constant.value and not self.constant.boxes:
                hopeless = self._worst(i, Fraction(1))
            query = partial(self._worst, i)
            found.append(
                tuple(None if g is None else self._radius(value, hopeless, g, query, strict=strict) for g in row)
            )
        return found

    def _radius(
        self, value: Fraction, hopeless: Fraction, gamma: Fraction, query: partial[Fraction], *, strict: bool
    ) -> Fraction | float:
        return search.coarse_radius(self.metric, value, hopeless, gamma, query, strict=strict)

    def _worst(self, i: int, eps: Fraction) -> Fraction:
        scene, metric = self._scenes[i], self.metric

        def find() -> Ledger:
            reach = reach_of(eps, self.constant, scene.scores.size)
            return ledger_of(metric, scene, self._detector, self._classes, reach)

        key = ("ledger", i, metric.mislabelled, self._classes, eps, self.constant)
        return worst(metric, self._context.counted(key, find))

    def _counts(self, i: int) -> tuple[int, int, int]:
        key = ("clean", i, self.metric.mislabelled, self._classes)
        parts = (self.metric, self._scenes[i], self._detector, self._classes)
        return self._context.counted(key, lambda: counts_of(*parts))

    def _defined(self, i: int) -> bool:
        tp, fp, fn = self._counts(i)
        return defined_at(self.metric, tp, fp, fn)

    def _value(self, i: int) -> Fraction | None:
        if not self._defined(i):
            return None
        found = value_at(self.metric, *self._counts(i))
        return worst_value(self.metric) if found is None else found


def classes_of(metric: Metric, scenes: Sequence[Scene]) -> tuple[int, ...]:
    """The classes a metric counts: those asked for, or all."""
    if metric.classes or not scenes:
        return metric.classes
    return tuple(range(len(scenes[0].scores)))


def value_at(metric: Metric, tp: int, fp: int, fn: int) -> Fraction | None:
    """The value at given counts; None where the divisor is 0."""
    return metric.formula.ratio.at(tp, fp, fn, ALWAYS_SOME_NEGATIVE)


def defined_at(metric: Metric, tp: int, fp: int, fn: int) -> bool:
    """Whether the annotation behind given counts defines a metric."""
    needed = metric.formula.defined
    return needed is None or bool(needed.at(tp, fp, fn, ALWAYS_SOME_NEGATIVE))


def worst(metric: Metric, ledger: Ledger) -> Fraction:
    """The worst value that the costs of an image leave possible."""
    if vanishing(metric, ledger):
        return worst_value(metric)

    def value(tp: int, fp: int, fn: int) -> Fraction:
        found = value_at(metric, tp, fp, fn)
        return worst_value(metric) if found is None else found

    return ledgers.worst(ledger, value, lower_is_better=metric.lower_is_better)


def vanishing(metric: Metric, ledger: Ledger) -> bool:
    """Whether some count of objects and no wrong detection, as an attack may bring about, make the divisor 0."""
    if not metric.worst_when_undefined:
        return False
    least = ledger.found - ledgers.lost(ledger)
    below = metric.formula.ratio.denominator
    return any(
        below.at(tp, 0, ledger.objects - tp, ALWAYS_SOME_NEGATIVE) <= 0 for tp in range(least, ledger.objects + 1)
    )

"""Metrics over the objects of all images together, each image in a ball of its own (DETECTION.md D3, MATH.md 3.E)."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from robspec.bounds import _objects as ledgers
from robspec.bounds import search
from robspec.bounds._spooled import Scenes
from robspec.bounds.confusion import worst_value
from robspec.bounds.context import Context
from robspec.bounds.mislabelled import counts_of, ledger_of
from robspec.bounds.objects import ALWAYS_SOME_NEGATIVE, classes_of, defined_at, value_at, worst
from robspec.bounds.pooled import Frontier, pooled_extreme
from robspec.bounds.scene import reach_of
from robspec.bounds.search import Found
from robspec.ir.types import Metric
from robspec.kernels.detection import Ledger
from robspec.semantics.constant import Constant
from robspec.semantics.formula import Polynomial


class PooledObjects:
    """A metric of objects pooled over every image it is given; as `pooled.Pool`.

    Args:
        metric: its formula has a numerator linear in the counts, and a denominator that is too, or is a number.
        constant: Lipschitz constants of scores and boxes for the attack's norm.
    """

    def __init__(self, metric: Metric, constant: Constant) -> None:
        self.metric, self.constant = metric, constant
        self._scenes = Scenes()
        self._counts = [0, 0, 0]
        self._most = 0

    @property
    def images(self) -> int:
        """How many images it was given."""
        return self._scenes.images

    def add(self, context: Context) -> None:
        """Read one batch; no image is excluded."""
        self._scenes.add(context)
        detector, scenes = context.detections()
        for scene in scenes:
            classes = classes_of(self.metric, [scene])
            for n, found in enumerate(counts_of(self.metric, scene, detector, classes)):
                self._counts[n] += found
            self._most += scene.scores.shape[1] * len(classes)

    def clean(self) -> Fraction | None:
        """Compute the clean pooled value; None where the annotation of all images does not define it."""
        tp, fp, fn = self._counts
        if not defined_at(self.metric, tp, fp, fn):
            return None
        found = value_at(self.metric, tp, fp, fn)
        return worst_value(self.metric) if found is None else found

    def worst_case(self, budgets: Sequence[Fraction]) -> tuple[Fraction | None, ...]:
        """Bound the pooled value within each budget (Q1)."""
        if self.clean() is None:
            return (None,) * len(budgets)
        return tuple(self._worst(eps) for eps in budgets)

    def radius(self, gamma: Fraction | None, *, strict: bool) -> Found:
        """Bound the budget per image at which the pooled value meets a threshold (Q2)."""
        value = self.clean()
        if value is None or gamma is None:
            return None
        last = value_at(self.metric, 0, self._most, self._counts[0] + self._counts[2])
        hopeless = worst_value(self.metric) if last is None else last
        if not self.constant.value and not self.constant.boxes:
            hopeless = self._worst(Fraction(1))
        return search.coarse_radius(self.metric, value, hopeless, gamma, self._worst, strict=strict)

    def close(self) -> None:
        """Delete what was kept."""
        self._scenes.close()

    def _worst(self, eps: Fraction) -> Fraction:
        detector, metric = self._scenes.detector, self.metric
        # Numbers of objects and detections: what each image adds at worst, added up.
        total: Fraction | None = Fraction(0) if metric.formula.ratio.denominator.fixed else None
        frontiers, least = [], 0
        for scene in self._scenes:
            reach = reach_of(eps, self.constant, scene.scores.size)
            ledger = ledger_of(metric, scene, detector, classes_of(metric, [scene]), reach)
            if total is not None:
                total += worst(metric, ledger)
                continue
            frontiers.append(_frontier(metric, ledger))
            least += _least(metric.formula.ratio.denominator, ledger)
        if total is not None:
            return total
        if metric.worst_when_undefined and least <= 0:
            return worst_value(metric)
        found = pooled_extreme(metric, frontiers)
        return worst_value(metric) if found is None else found


def _frontier(metric: Metric, ledger: Ledger) -> Frontier:
    """Numerators and denominators that an attack on one image can bring about."""
    ratio = metric.formula.ratio
    counts = list(ledgers.spent(ledger))
    above, below = (
        np.array([part.at(*c, ALWAYS_SOME_NEGATIVE) for c in counts], dtype=object)
        for part in (ratio.numerator, ratio.denominator)
    )
    return Frontier(above, below)


def _least(below: Polynomial, ledger: Ledger) -> int:
    """The least divisor an image can add: no wrong detection, and whichever number of objects an attack leaves."""
    first = ledger.found - ledgers.lost(ledger)
    return min(below.at(tp, 0, ledger.objects - tp, ALWAYS_SOME_NEGATIVE) for tp in range(first, ledger.objects + 1))

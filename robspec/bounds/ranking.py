"""Metrics of ranked scores under attack, each image in a ball of its own (MATH.md section 3.H)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from robspec import arrays
from robspec.bounds.context import Context, doubles
from robspec.bounds.search import Found
from robspec.ir.plans import Attacked, Measure, Ranked
from robspec.ir.types import Metric
from robspec.kernels import scores
from robspec.kernels.knapsack import FloatArray
from robspec.kernels.scores import Radius, Scores, Shifts
from robspec.semantics.constant import Constant

_ANOMALOUS = 1
"""The index of the side whose scores are meant to be high."""


class Ranking:
    """A metric of scores over every image it is given; as `pooled.Pool`.

    Args:
        metric: its plan is `Ranked`.
        constant: Lipschitz constant of the score for the attack's norm. Its rounding moves the scores of images that
            nobody attacks, too.
    """

    def __init__(self, metric: Metric, constant: Constant) -> None:
        if not isinstance(metric.plan, Ranked):
            raise ValueError(f"{metric.name} ranks no scores")
        self.metric = metric
        self._measure = metric.plan.measure
        self._both = metric.plan.attacked is Attacked.BOTH
        self.constant = constant
        self.images = 0
        self._backend = "cpu"
        self._kept: tuple[list[FloatArray], list[FloatArray]] = ([], [])
        self._scores: Scores | None = None

    def add(self, context: Context) -> None:
        """Read one batch of scores, [B, 1, 1, 1]; no image is excluded."""
        if context.labels is None:
            raise ValueError("ranked scores need labels")
        found, sides = doubles(context.logits).reshape(len(context), -1), arrays.host(context.labels).reshape(-1)
        if found.shape[1] != 1:
            raise ValueError("a score is one number for each image")
        for side, kept in enumerate(self._kept):
            kept.append(found[sides == side, 0])
        self._backend = context.backend.name if context.backend.name == "reference" else "cpu"
        self._scores = None
        self.images += len(context)

    def clean(self) -> Fraction | None:
        """Compute the clean value, exactly; None without an image on each side."""
        return self._value(Shifts())

    def worst_case(self, budgets: Sequence[Fraction]) -> tuple[Fraction | None, ...]:
        """Find the worst value within each budget (Q1), exactly over the scores within reach."""
        return tuple(self._value(self._shifts(eps)) for eps in budgets)

    def radius(self, gamma: Fraction | None, *, strict: bool) -> Found:
        """Find the budget per image that meets a threshold, exactly over the scores within reach (Q2)."""
        if gamma is None or self.clean() is None:
            return None
        found = self._radius(gamma, strict=strict)
        if found is None:
            return None
        # Both sides attacked, a pair closes twice as fast; an attack on the other side alone changes nothing.
        begun, speed = self._moved(self._shifts(Fraction(0))), self._moved(self._shifts(Fraction(1)))
        speed -= begun
        if found.shift is None:
            return math.inf
        # Rounding moves scores before any attack does.
        left = found.shift - begun
        if left <= 0:
            return Fraction(0) if left < 0 or found.attained or speed else math.inf
        return left / speed if speed else math.inf

    def close(self) -> None:
        """Forget the scores."""
        self._kept, self._scores = ([], []), None

    def _shifts(self, eps: Fraction) -> Shifts:
        reach, rounding = eps * self.constant.value, self.constant.rounding
        return Shifts(reach + rounding, (reach if self._both else Fraction(0)) + rounding)

    def _moved(self, shifts: Shifts) -> Fraction:
        """What of an attack the measure feels."""
        return {Measure.TPR_AT: shifts.down, Measure.FPR_AT: shifts.up}.get(self._measure, shifts.total)

    def _value(self, shifts: Shifts) -> Fraction | None:
        ranked, given = self._read(), self.metric.arguments
        if not ranked.anomalies or not ranked.normals:
            return None
        match self._measure:
            case Measure.AUROC:
                return ranked.auroc(shifts)
            case Measure.AVERAGE_PRECISION:
                return ranked.average_precision(shifts)
            case Measure.TPR_AT:
                return ranked.tpr_at(given[0], shifts)
            case Measure.FPR_AT:
                return ranked.fpr_at(given[0], shifts)
            case Measure.FPR_AT_TPR:
                return ranked.fpr_at_tpr(given[0], shifts)

    def _radius(self, gamma: Fraction, *, strict: bool) -> Radius | None:
        ranked, given = self._read(), self.metric.arguments
        match self._measure:
            case Measure.AUROC:
                return ranked.auroc_radius(gamma, strict=strict)
            case Measure.AVERAGE_PRECISION:
                return ranked.average_precision_radius(gamma, strict=strict, lowered=True)
            case Measure.TPR_AT:
                return ranked.tpr_at_radius(given[0], gamma, strict=strict)
            case Measure.FPR_AT:
                return ranked.fpr_at_radius(given[0], gamma, strict=strict)
            case Measure.FPR_AT_TPR:
                return ranked.fpr_at_tpr_radius(given[0], gamma, strict=strict)

    def _read(self) -> Scores:
        if self._scores is None:
            normal, anomalous = (np.concatenate(kept) if kept else np.empty(0) for kept in self._kept)
            self._scores = scores.backends()[self._backend].read(anomalous, normal)
        return self._scores

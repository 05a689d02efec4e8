"""Weighted counting, h = h0 - sum of lost weights: a real knapsack, bounded by its linear dual (MATH.md 3.B).

For any price lambda >= 0 the attacker's profit is at most lambda B + sum_i (p_i - lambda c_i)_+; the price is chosen
near the best one, the sum is rounded up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch

from robspec.bounds import search
from robspec.bounds.confusion import affordable
from robspec.bounds.context import LEFT_OUT, Context, doubles
from robspec.bounds.search import Found
from robspec.ir.types import Metric
from robspec.kernels.knapsack import FloatArray, IntArray
from robspec.kernels.knapsack.budget import Budget, round_up
from robspec.semantics.constant import Constant
from robspec.semantics.formula import Polynomial, Ratio

_RECALL = Ratio(Polynomial.count("TP"), Polynomial.count("TP", "FN"))
_ROUNDING = Fraction(1, 2**36)
"""Relative slack that covers every rounding of a sum of at most 2^26 doubles of either sign."""


def open_bound(metric: Metric, context: Context, constant: Constant) -> Bound:
    """Open a weighted metric on a batch.

    Raises:
        ValueError: no bound for this metric with weights; `supported` tells beforehand.
    """
    if not supported(metric):
        raise ValueError(f"no bound for weighted {metric.name}")
    return Bound(metric, context, constant)


def supported(metric: Metric) -> bool:
    """Tell whether this family bounds a metric: accuracies over all classes, and the recall of a single class."""
    if not metric.weights:
        return True
    recall = metric.ratio == _RECALL and len(metric.classes) == 1
    return not metric.lower_is_better and (metric.items == "correct" or recall)


@dataclass(frozen=True, slots=True)
class _Image:
    """The items of one image.

    Args:
        margins: of the correct pixels with a weight.
        profits: what flipping each loses, rounded up.
        clean: the numerator of the clean value, exact.
        total: its denominator, exact and positive.
    """

    margins: FloatArray
    profits: FloatArray
    clean: Fraction
    total: Fraction


class Bound:
    """A weighted accuracy on a batch: per-pixel weights, or the mean recall of the annotated classes.

    Args:
        metric: `weights` for weights from files, else `average` says how the classes are weighted.
        context: the batch.
        constant: Lipschitz constant for the attack's norm.
    """

    def __init__(self, metric: Metric, context: Context, constant: Constant) -> None:
        self.metric = metric
        self.constant = constant
        self._pixels = context.logits.shape[2] * context.logits.shape[3]
        self._single = context.logits.shape[1] == 1
        labels = context.seen(metric)
        if labels is None:
            labels = torch.zeros_like(context.logits[:, 0], dtype=torch.int64)
        self._images = [self._read(context, labels, i) for i in range(len(context))]

    def _read(self, context: Context, labels: torch.Tensor, i: int) -> _Image | None:
        label = np.asarray(labels[i].numpy()).reshape(-1)
        kept = label != LEFT_OUT
        if self.metric.classes:
            kept &= np.isin(label, self.metric.classes)
        predicted, margins = predictions(doubles(context.logits[i]))
        correct = kept & (predicted == label)
        if self.metric.weights:
            if context.weights is None:
                raise ValueError("the metric needs weight files")
            weight = doubles(context.weights[i]).reshape(-1)
            total, clean = exact_sum(weight[kept]), exact_sum(weight[correct])
        elif self.metric.average == "frequency":
            weight = np.ones(len(label))
            total, clean = Fraction(int(kept.sum())), Fraction(int(correct.sum()))
        else:
            annotated = np.bincount(label[kept], minlength=context.classes).tolist()
            found = np.bincount(label[correct], minlength=context.classes).tolist()
            total = Fraction(sum(n > 0 for n in annotated))
            clean = sum((Fraction(m, n) for m, n in zip(found, annotated, strict=True) if n), Fraction(0))
            share = np.array([round_up(Fraction(1, n)) if n else 0.0 for n in annotated])
            weight = share[np.where(kept, label, 0)]
        if total == 0:
            return None
        items = correct & (weight > 0)
        return _Image(margins[items], weight[items], clean, total)

    def clean(self) -> list[Fraction | None]:
        """Compute the clean values, None where no pixel has a weight."""
        return [None if i is None else i.clean / i.total for i in self._images]

    def worst_case(self, budgets: Sequence[Fraction]) -> list[tuple[Fraction | None, ...]]:
        """Bound each image's value from below within each budget (Q1); relaxed by the dual."""
        return [tuple(None if i is None else self._worst(i, eps) for eps in budgets) for i in self._images]

    def radius(self, gammas: Sequence[Sequence[Fraction | None]], *, strict: bool) -> list[tuple[Found, ...]]:
        """Bound each image's radius for each of its thresholds from below (Q2)."""
        return [
            tuple(self._radius(image, gamma, strict=strict) for gamma in row)
            for image, row in zip(self._images, gammas, strict=True)
        ]

    def _radius(self, image: _Image | None, gamma: Fraction | None, *, strict: bool) -> Found:
        if image is None or gamma is None:
            return None
        hopeless = Fraction(0) if self.constant.value else self._worst(image, Fraction(1))
        clean = image.clean / image.total
        query = lambda eps: self._worst(image, eps)  # noqa: E731
        return search.radius(self.metric, clean, hopeless, gamma, query, strict=strict)

    def _worst(self, image: _Image, eps: Fraction) -> Fraction:
        q = self.constant.output_norm.p
        budget = Budget.of(eps, self.constant.value, q, self._pixels, single=self._single)
        if not budget.exponent:
            lost = min(exact_sum(image.profits[image.margins <= budget.scale]), image.clean)
            return (image.clean - lost) / image.total
        order = np.argsort(image.margins, kind="stable")
        costs = affordable(image.margins[order], budget)
        profits = image.profits[order][: len(costs)]
        lost = min(dual_bound(costs, profits, budget.limit), image.clean)
        return (image.clean - lost) / image.total


def dual_bound(costs: IntArray, profits: FloatArray, limit: int) -> Fraction:
    """Bound the profit of a knapsack from above by its linear dual at a good price.

    Args:
        costs: integers, none above `limit`.
        profits: positive doubles.
        limit: the budget.

    Returns:
        lambda B + sum_i (p_i - lambda c_i)_+, rounded up.

    Source: MATH.md section 3.B.
    """
    whole = exact_sum(profits)
    if not len(costs) or int(costs.sum()) <= limit:
        return whole
    with np.errstate(divide="ignore"):
        worth = np.where(costs > 0, profits / np.maximum(costs, 1), np.inf)
    order = np.argsort(-worth, kind="stable")
    breaks = int(np.searchsorted(np.cumsum(costs[order]), limit, side="right"))
    price = float(worth[order][min(breaks, len(order) - 1)])
    if not np.isfinite(price):
        return whole
    gains = profits - price * costs.astype(np.float64)
    gained = Fraction(float(np.sum(np.maximum(gains, 0.0))))
    return min(whole, Fraction(price) * limit + gained + whole * _ROUNDING)


def predictions(z: FloatArray) -> tuple[IntArray, FloatArray]:
    """Predict every pixel and measure its margin.

    Args:
        z: float64 [K, H, W]; K = 1 is a single logit with threshold 0.

    Returns:
        Classes (first index of the maximum), and largest minus second largest logit; flat.
    """
    flat = z.reshape(len(z), -1)
    if len(flat) == 1:
        return (flat[0] > 0).astype(np.int64), np.abs(flat[0])
    ordered = np.partition(flat, len(flat) - 2, axis=0)
    return np.argmax(flat, axis=0).astype(np.int64), ordered[-1] - ordered[-2]


def exact_sum(values: FloatArray) -> Fraction:
    """Add doubles up without rounding."""
    flat = np.unique(np.asarray(values, dtype=np.float64).reshape(-1), return_counts=True)
    return sum((Fraction(v) * n for v, n in zip(*(x.tolist() for x in flat), strict=True)), Fraction(0))

"""Weighted counting, h = h0 - sum of lost weights: a real knapsack, bounded by its linear dual (MATH.md 3.B).

For any price lambda >= 0 the attacker's profit is at most lambda B + sum_i (p_i - lambda c_i)_+; the price is chosen
near the best one, the sum is rounded up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from robspec import arrays
from robspec.arrays import Array
from robspec.bounds import search
from robspec.bounds.context import LEFT_OUT, Context, doubles
from robspec.bounds.search import Found
from robspec.ir.plans import Accuracy, MeanRate, Rate, Stability, Weighted, unweighted
from robspec.ir.types import Metric
from robspec.kernels.knapsack import FloatArray, IntArray
from robspec.kernels.knapsack.budget import Budget, round_up
from robspec.kernels.weighted import beside, exact_sum
from robspec.semantics.classify import Flip
from robspec.semantics.constant import Constant


def open_bound(metric: Metric, context: Context, constant: Constant) -> Bound:
    """Open a weighted metric on a batch.

    Raises:
        ValueError: no bound for this metric with weights; `supported` tells beforehand.
    """
    if not supported(metric):
        raise ValueError(f"no bound for weighted {metric.name}")
    return Bound(metric, context, constant)


def supported(metric: Metric) -> bool:
    """Tell whether this family bounds a metric: accuracy, stability, rates of a class set, mean recall."""
    match metric.plan:
        case MeanRate() | Weighted(of=Accuracy(rank=1) | Stability()):
            return True
        case Weighted(of=Rate() as rate):
            return _rate(rate, lower_is_better=metric.lower_is_better) is not None
    return False


@dataclass(frozen=True, slots=True)
class _Rate:
    """A quotient of two sums of counts whose denominator no attack changes.

    Args:
        leaving: whether true positives are flipped, else true negatives.
        above: coefficients of TP, FP, FN, TN in the numerator.
        below: those in the denominator.
        change: of the numerator by a flipped pixel of weight 1.
    """

    leaving: bool
    above: tuple[int, int, int, int]
    below: tuple[int, int, int, int]
    change: int


def _rate(rate: Rate, *, lower_is_better: bool) -> _Rate | None:
    sums = (rate.formula.ratio.numerator, rate.formula.ratio.denominator)
    if not rate.formula.linear:
        return None
    leaving = rate.flips is Flip.LEAVE
    above, below = (tuple(int(s.at(*(int(i == j) for i in range(4)))) for j in range(4)) for s in sums)
    tp, fp, fn, tn = above
    fixed = below[0] == below[2] and below[1] == below[3]
    change, other = (fn - tp, fp - tn) if leaving else (fp - tn, fn - tp)
    harmful = change >= 0 if lower_is_better else change <= 0
    if not fixed or other != 0 or not harmful or min(below) < 0:
        return None
    return _Rate(leaving, (tp, fp, fn, tn), (below[0], below[1], below[2], below[3]), change)


@dataclass(frozen=True, slots=True)
class _Image:
    """The items of one image.

    Args:
        margins: of the pixels whose flip hurts.
        profits: what flipping each loses, in units of `slope`, rounded up.
        clean: the clean value, exact.
        slope: change of the value for each unit lost.
        hopeless: the value with every item flipped.
    """

    margins: FloatArray
    profits: FloatArray
    clean: Fraction
    slope: Fraction
    hopeless: Fraction


class Bound:
    """A weighted count on a batch: per-pixel weights, or the mean recall of the annotated classes.

    Args:
        metric: its plan is `Weighted` or `MeanRate`.
        context: the batch.
        constant: Lipschitz constant for the attack's norm.
    """

    def __init__(self, metric: Metric, context: Context, constant: Constant) -> None:
        self.metric = metric
        self.constant = constant
        self._kernel = beside(context.backend.name)
        self._pixels = context.logits.shape[2] * context.logits.shape[3]
        self._single = context.logits.shape[1] == 1
        self._stability = isinstance(unweighted(metric.plan), Stability)
        labels = context.seen(metric, annotated=not self._stability)
        if labels is None:
            labels = np.zeros(context.shape, dtype=np.int64)
        self._images = [self._read(context, labels, i) for i in range(len(context))]

    def _read(self, context: Context, labels: Array, i: int) -> _Image | None:
        label = arrays.host(labels[i]).reshape(-1)
        plan = unweighted(self.metric.plan)
        if isinstance(plan, MeanRate):
            return self._mean_recall(plan, doubles(context.logits[i]), label, context.classes)
        if context.weights is None:
            raise ValueError("the metric needs weight files")
        weight = doubles(context.weights[i]).reshape(-1)
        rate = _rate(plan, lower_is_better=self.metric.lower_is_better) if isinstance(plan, Rate) else None
        if rate is not None:
            return self._of_rate(rate, doubles(context.logits[i]), label, weight)
        kept = label != LEFT_OUT
        predicted, margins = self._kernel.predictions(doubles(context.logits[i]))
        right = kept if self._stability else kept & (predicted == label)
        total = exact_sum(weight[kept])
        if total == 0:
            return None
        items = right & (weight > 0)
        return _Image(margins[items], weight[items], exact_sum(weight[right]) / total, -1 / total, Fraction(0))

    def _mean_recall(self, plan: MeanRate, z: FloatArray, label: IntArray, classes: int) -> _Image | None:
        kept = label != LEFT_OUT
        if plan.classes:
            kept &= np.isin(label, plan.classes)
        predicted, margins = self._kernel.predictions(z)
        correct = kept & (predicted == label)
        if plan.frequency:
            weight = np.ones(len(label))
            total, clean = Fraction(int(kept.sum())), Fraction(int(correct.sum()))
        else:
            annotated = np.bincount(label[kept], minlength=classes).tolist()
            found = np.bincount(label[correct], minlength=classes).tolist()
            total = Fraction(sum(n > 0 for n in annotated))
            clean = sum((Fraction(m, n) for m, n in zip(found, annotated, strict=True) if n), Fraction(0))
            share = np.array([round_up(Fraction(1, n)) if n else 0.0 for n in annotated])
            weight = share[np.where(kept, label, 0)]
        if total == 0:
            return None
        return _Image(margins[correct], weight[correct], clean / total, -1 / total, Fraction(0))

    def _of_rate(self, rate: _Rate, z: FloatArray, label: IntArray, weight: FloatArray) -> _Image | None:
        inside, ahead, margins = self._kernel.sides(z, self.metric.classes)
        kept = (label >= 0) & (label < len(inside))
        mine = inside[np.where(kept, label, 0)]
        cells = [exact_sum(weight[kept & p & y]) for p, y in ((ahead, mine), (ahead, ~mine), (~ahead, mine))]
        cells.append(exact_sum(weight[kept & ~ahead & ~mine]))
        total = sum((n * w for n, w in zip(rate.below, cells, strict=True)), Fraction(0))
        if total == 0:
            return None
        clean = sum((n * w for n, w in zip(rate.above, cells, strict=True)), Fraction(0)) / total
        slope = rate.change / total
        items = kept & (weight > 0) & (ahead & mine if rate.leaving else ~ahead & ~mine)
        return _Image(margins[items], weight[items], clean, slope, clean + slope * exact_sum(weight[items]))

    def clean(self) -> list[Fraction | None]:
        """Compute the clean values, None where no pixel has a weight."""
        return [None if i is None else i.clean for i in self._images]

    def worst_case(self, budgets: Sequence[Fraction]) -> list[tuple[Fraction | None, ...]]:
        """Bound each image's value within each budget (Q1); relaxed by the dual."""
        return [tuple(None if i is None else self._worst(i, eps) for eps in budgets) for i in self._images]

    def radius(self, gammas: Sequence[Sequence[Fraction | None]], *, strict: bool) -> list[tuple[Found, ...]]:
        """Bound each image's radius for each of its thresholds from below (Q2)."""
        return search.radii(
            self.metric,
            self.constant,
            self._images,
            gammas,
            clean=lambda image: image.clean,
            hopeless=lambda image: image.hopeless,
            worst=self._worst,
            strict=strict,
        )

    def _worst(self, image: _Image, eps: Fraction) -> Fraction:
        q = self.constant.output_norm.p
        budget = Budget.of(eps, self.constant.value, q, self._pixels, single=self._single)
        value = image.clean + image.slope * self._kernel.most(image.margins, image.profits, budget)
        return min(value, image.hopeless) if image.slope > 0 else max(value, image.hopeless)

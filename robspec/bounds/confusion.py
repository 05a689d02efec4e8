"""One class set on one image: what every affordable attack can make of its confusion counts (MATH.md 3.C)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from robspec.ir.types import Metric
from robspec.kernels.knapsack import FloatArray, IntArray, OneClass
from robspec.kernels.knapsack.budget import Budget
from robspec.semantics.constant import Constant
from robspec.semantics.formula import Polynomial

_EXACT_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Confusion:
    """The clean counts of one image and the items of an attack on them.

    Args:
        tp: pixels labelled and predicted inside.
        fp: predicted inside, labelled outside.
        fn: labelled inside, predicted outside.
        tn: labelled and predicted outside.
        leave: items of the true positives, ascending.
        enter: items of the true negatives, ascending.
        pixels: of the image, for the grid.
        single: single-logit head.
        leave_squared: whether `leave` holds squared distances.
        enter_squared: whether `enter` does.
    """

    tp: int
    fp: int
    fn: int
    tn: int
    leave: FloatArray
    enter: FloatArray
    pixels: int
    single: bool
    leave_squared: bool
    enter_squared: bool

    @staticmethod
    def of(batch: OneClass, image: int) -> Confusion:
        """Take one image out of a batch."""
        leave, enter = batch.lists(image)
        return Confusion(
            tp=int(batch.tp[image]),
            fp=int(batch.fp[image]),
            fn=int(batch.fn[image]),
            tn=int(batch.tn[image]),
            leave=leave,
            enter=enter,
            pixels=batch.pixels,
            single=batch.single,
            leave_squared=batch.leave_squared,
            enter_squared=batch.enter_squared,
        )

    def value(self, metric: Metric) -> Fraction | None:
        """Compute the clean value, None where the metric is undefined."""
        if not self.defined(metric):
            return None
        return value_at(metric, self.tp, self.fp, self.fn, self.tn)

    def defined(self, metric: Metric) -> bool:
        """Decide definedness from sums that the annotation fixes."""
        if metric.defined is None:
            return self.tp + self.fp + self.fn + self.tn > 0
        return metric.defined.at(self.tp, self.fp, self.fn, self.tn) != 0

    def reachable(self, eps: Fraction, constant: Constant) -> tuple[IntArray, IntArray]:
        """List the pairs of flips that matter within a budget.

        Args:
            eps: radius of the ball around the image.
            constant: Lipschitz constant for the attack's norm.

        Returns:
            Numbers a of true positives lost and the most true negatives b lost beside them.
        """
        q = constant.output_norm.p
        one = self.single
        leave = Budget.of(eps, constant.value, q, self.pixels, single=one, squared=self.leave_squared)
        enter = Budget.of(eps, constant.value, q, self.pixels, single=one, squared=self.enter_squared)
        if not leave.exponent:
            a = int(np.searchsorted(self.leave, leave.scale, side="right"))
            b = int(np.searchsorted(self.enter, enter.scale, side="right"))
            return np.array([a], dtype=np.int64), np.array([b], dtype=np.int64)
        return pairs(affordable(self.leave, leave), affordable(self.enter, enter), leave.limit)

    def worst(self, metric: Metric, a: IntArray, b: IntArray) -> Fraction:
        """Compute the worst value over pairs of flips, exactly."""
        return extreme(metric, self.tp - a, self.fp + b, self.fn + a, self.tn - b)


def affordable(ascending: FloatArray, budget: Budget) -> IntArray:
    """Convert ascending items to integer costs, rounded down, leaving out what no budget buys."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        cost = ascending * ascending * budget.scale if budget.exponent == 2 else ascending * budget.scale
    # Only an infinite item times a scale of 0 is not a number: the budget is then beyond every item.
    cost = np.nan_to_num(cost, nan=0.0, posinf=np.inf)
    return cost[: np.searchsorted(cost, float(budget.limit + 1), side="left")].astype(np.int64)


def pairs(leave: IntArray, enter: IntArray, limit: int) -> tuple[IntArray, IntArray]:
    """Pair every affordable number of leaves with the most enters the rest of the budget buys."""
    from robspec.kernels.knapsack._classes import frontier

    b = np.empty(len(leave) + 1, dtype=np.int64)
    count = frontier(leave, enter, limit, b)
    return np.arange(count, dtype=np.int64), b[:count]


def value_at(metric: Metric, tp: int, fp: int, fn: int, tn: int) -> Fraction:
    """Compute a one-class metric from counts; the worst value where its denominator is 0."""
    if metric.ratio is None:
        raise ValueError(f"{metric.name} is not a one-class metric")
    value = metric.ratio.at(tp, fp, fn, tn)
    if value is not None:
        return value
    worst = metric.high if metric.lower_is_better else metric.low
    if worst is None:
        raise ValueError(f"{metric.name} is undefined at {tp, fp, fn, tn} and has no worst value")
    return worst


def extreme(metric: Metric, tp: IntArray, fp: IntArray, fn: IntArray, tn: IntArray) -> Fraction:
    """Find the worst value of a one-class metric over many counts, exactly.

    Doubles with an error bound leave only counts whose value can be the worst; those are compared as rationals.

    Args:
        metric: its polarity says what is worst.
        tp: at least one entry.
        fp: as long.
        fn: as long.
        tn: as long.

    Returns:
        The smallest value (the largest where lower is better), exact.
    """
    if metric.ratio is None:
        raise ValueError(f"{metric.name} is not a one-class metric")
    above, above_error = _evaluate(metric.ratio.numerator, tp, fp, fn, tn)
    below, below_error = _evaluate(metric.ratio.denominator, tp, fp, fn, tn)
    sign = -1.0 if metric.lower_is_better else 1.0
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        value = sign * above / below
        error = 2 * (above_error + np.abs(value) * below_error) / np.abs(below) + np.abs(value) * 2.0**-50
    unsure = ~np.isfinite(value) | ~np.isfinite(error) | (np.abs(below) <= 2 * below_error)
    ceiling = np.min(np.where(unsure, np.inf, value + error))
    candidates = np.flatnonzero(unsure | (value - error <= ceiling))
    counts = np.stack([x[candidates] for x in (tp, fp, fn, tn)], axis=1)
    if len(counts) > _EXACT_AT_ONCE:
        counts = np.unique(counts, axis=0)
    values = [value_at(metric, *row) for row in counts.tolist()]
    return max(values) if metric.lower_is_better else min(values)


def _evaluate(
    polynomial: Polynomial, tp: IntArray, fp: IntArray, fn: IntArray, tn: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Value and error bound in doubles."""
    total = np.zeros(len(tp))
    size = np.zeros(len(tp))
    columns = [x.astype(np.float64) for x in (tp, fp, fn, tn)]
    for exponents, coefficient in polynomial.terms:
        term = np.full(len(tp), float(coefficient))
        for column, power in zip(columns, exponents, strict=True):
            term = term * column**power
        total += term
        size += np.abs(term)
    exact = np.all(size < 2.0**52) and all(abs(c) < 2**52 for c in polynomial.coefficients)
    return total, np.zeros(len(tp)) if exact else size * 2.0**-40

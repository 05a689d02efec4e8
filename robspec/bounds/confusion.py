"""One class set on one image: what every affordable attack can make of its confusion counts (MATH.md 3.C)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any, TypeAlias

import numpy as np

from robspec.ir.types import Metric
from robspec.kernels.knapsack import FloatArray, IntArray, OneClass, Windowed
from robspec.kernels.knapsack.budget import Budget, affordable
from robspec.semantics.classify import Flip
from robspec.semantics.constant import Constant
from robspec.semantics.formula import Polynomial

_EXACT_AT_ONCE = 4096

Finder: TypeAlias = Callable[[IntArray, IntArray, int], Fraction]
Quickly: TypeAlias = Callable[[Budget, Budget, tuple[bool, bool], IntArray, IntArray], "tuple[int, int] | None"]
Lists: TypeAlias = Callable[[Budget | None, Budget | None], tuple[FloatArray, FloatArray]]


@dataclass(frozen=True, slots=True)
class Confusion:
    """The clean counts of one image and the items of an attack on them.

    Args:
        tp: pixels labelled and predicted inside.
        fp: predicted inside, labelled outside.
        fn: labelled inside, predicted outside.
        tn: labelled and predicted outside.
        leaves: how many true positives can be flipped.
        enters: how many true negatives.
        lists: gives the items of both, ascending, as far as budgets for them reach; see `OneClass.lists`.
        pixels: of the image, for the grid.
        single: single-logit head.
        leave_squared: whether leave items are squared distances.
        enter_squared: whether enter items are.
        backend: the name of the backend that holds the items; "reference" goes on in plain Python.
        quickly: finds least quotients without the items where it can; see `Windowed.least_quotient`.
    """

    tp: int
    fp: int
    fn: int
    tn: int
    leaves: int
    enters: int
    lists: Lists
    pixels: int
    single: bool
    leave_squared: bool
    enter_squared: bool
    backend: str = "cpu"
    quickly: Quickly | None = None

    @staticmethod
    def of(batch: OneClass, image: int, *, without: Flip | None = None) -> Confusion:
        """Take one image out of a batch.

        Args:
            batch: the class set on every image.
            image: its index.
            without: items to leave out; None for neither.
        """
        none = np.empty(0)

        def lists(leave: Budget | None, enter: Budget | None) -> tuple[FloatArray, FloatArray]:
            mine, others = batch.lists(image, leave, enter)
            return none if without is Flip.LEAVE else mine, none if without is Flip.ENTER else others

        quickly = partial(batch.least_quotient, image) if isinstance(batch, Windowed) else None
        return Confusion(
            tp=int(batch.tp[image]),
            fp=int(batch.fp[image]),
            fn=int(batch.fn[image]),
            tn=int(batch.tn[image]),
            leaves=0 if without is Flip.LEAVE else int(batch.tp[image]),
            enters=0 if without is Flip.ENTER else int(batch.tn[image]),
            lists=lists,
            pixels=batch.pixels,
            single=batch.single,
            leave_squared=batch.leave_squared,
            enter_squared=batch.enter_squared,
            backend=batch.backend,
            quickly=quickly,
        )

    def value(self, metric: Metric) -> Fraction | None:
        """Compute the clean value, None where the metric is undefined."""
        if not self.defined(metric):
            return None
        return value_at(metric, self.tp, self.fp, self.fn, self.tn)

    def defined(self, metric: Metric) -> bool:
        """Decide definedness from sums that the annotation fixes."""
        needed = metric.formula.defined
        if needed is None:
            return self.tp + self.fp + self.fn + self.tn > 0
        return needed.at(self.tp, self.fp, self.fn, self.tn) != 0

    def reachable(self, eps: Fraction, constant: Constant) -> tuple[IntArray, IntArray]:
        """List the pairs of flips that matter within a budget.

        Args:
            eps: radius of the ball around the image.
            constant: Lipschitz constant for the attack's norm.

        Returns:
            Numbers a of true positives lost and the most true negatives b lost beside them.
        """
        budgets = self.budgets(eps, constant)
        mine, others = self.lists(*budgets)
        leave, enter = budgets
        if not leave.exponent:
            a = int(np.searchsorted(mine, leave.scale, side="right"))
            b = int(np.searchsorted(others, enter.scale, side="right"))
            return np.array([a], dtype=np.int64), np.array([b], dtype=np.int64)
        return pairs(affordable(mine, leave), affordable(others, enter), leave.limit, self.backend)

    def worst_case(self, metric: Metric, eps: Fraction, constant: Constant) -> Fraction:
        """Bound the value within a budget, exactly over the relaxed set up to stated roundings."""
        leave, enter = self.budgets(eps, constant)
        if not leave.exponent:
            return self.worst(metric, *self.reachable(eps, constant))
        sums = self._sums(metric) if self.quickly else None
        if self.quickly and sums is not None:
            sign, above, below = sums
            found = self.quickly(leave, enter, (self.leaves > 0, self.enters > 0), above, below)
            if found is not None:
                return Fraction(sign * found[0], found[1])
        mine, others = self.lists(leave, enter)
        return self.finder(metric)(affordable(mine, leave), affordable(others, enter), leave.limit)

    def finder(self, metric: Metric) -> Finder:
        """Prepare the search for the worst value over every affordable pair of flips.

        Args:
            metric: monotone in both numbers of flips.

        Returns:
            A function of the ascending integer costs of the leave items, those of the enter items, none above the
            limit, and that limit; it gives the smallest value (the largest where lower is better), exact.
        """
        worst_quotient = _steps(self.backend).worst_quotient
        counts = np.array([self.tp, self.fp, self.fn, self.tn], dtype=np.int64)
        sums = self._sums(metric)
        if sums is None:
            return lambda leave, enter, limit: self.worst(metric, *pairs(leave, enter, limit, self.backend))
        sign, above, below = sums

        def find(leave: IntArray, enter: IntArray, limit: int) -> Fraction:
            n, d, vanishes = worst_quotient(leave, enter, limit, counts, above, below)
            found = [Fraction(sign * n, d)] if d else []
            if vanishes:
                found.append(worst_value(metric))
            return max(found) if metric.lower_is_better else min(found)

        return find

    def _sums(self, metric: Metric) -> tuple[int, IntArray, IntArray] | None:
        """A metric as a quotient of two sums of counts to be made small, and the sign that is taken off it after."""
        found = _linear(metric, self.tp + self.fp + self.fn + self.tn)
        sign = -1 if metric.lower_is_better else 1
        return None if found is None else (sign, sign * found[0], found[1])

    def budgets(self, eps: Fraction, constant: Constant) -> tuple[Budget, Budget]:
        """Convert a radius into the budgets of the leave and of the enter items, in the same units."""
        q, one, pixels = constant.output_norm.p, self.single, self.pixels
        leave = Budget.of(eps, constant.value, q, pixels, single=one, squared=self.leave_squared)
        return leave, Budget.of(eps, constant.value, q, pixels, single=one, squared=self.enter_squared)

    def everything(self) -> tuple[IntArray, IntArray]:
        """Give the one pair in which every item is flipped."""
        return np.array([self.leaves], dtype=np.int64), np.array([self.enters], dtype=np.int64)

    def worst(self, metric: Metric, a: IntArray, b: IntArray) -> Fraction:
        """Compute the worst value over pairs of flips, exactly."""
        return extreme(metric, self.tp - a, self.fp + b, self.fn + a, self.tn - b)


def _steps(backend: str) -> Any:
    """Where the two loops over affordable pairs live: plain Python, numpy, or compiled for every other backend."""
    if backend == "reference":
        from robspec.kernels.knapsack import reference

        return reference
    if backend == "numpy":
        from robspec.kernels.knapsack import array

        return array
    from robspec.kernels.knapsack import _classes

    return _classes


def pairs(leave: IntArray, enter: IntArray, limit: int, backend: str = "cpu") -> tuple[IntArray, IntArray]:
    """Pair every affordable number of leaves with the most enters the rest of the budget buys."""
    b = np.empty(len(leave) + 1, dtype=np.int64)
    count = _steps(backend).frontier(leave, enter, limit, b)
    return np.arange(count, dtype=np.int64), b[:count]


def value_at(metric: Metric, tp: int, fp: int, fn: int, tn: int) -> Fraction:
    """Compute a one-class metric from counts; the worst value where its denominator is 0."""
    value = metric.formula.ratio.at(tp, fp, fn, tn)
    return worst_value(metric) if value is None else value


def worst_value(metric: Metric) -> Fraction:
    """Say what a metric counts as where an attack has brought its denominator to 0.

    Raises:
        ValueError: it has no worst value.
    """
    if metric.worst is None:
        raise ValueError(f"{metric.name} has no worst value")
    return metric.worst


@lru_cache(maxsize=256)
def _linear(metric: Metric, counted: int) -> tuple[IntArray, IntArray] | None:
    """Coefficients of a quotient of two sums of counts, None where it is none or products would not fit 62 bits."""
    formula = metric.formula
    if not formula.linear:
        return None
    found = [[0] * 4, [0] * 4]
    for row, polynomial in zip(found, (formula.ratio.numerator, formula.ratio.denominator), strict=True):
        for exponents, coefficient in polynomial.terms:
            row[exponents.index(1)] = coefficient
    largest = [max(map(abs, row)) * max(counted, 1) for row in found]
    if max(largest) * max(largest) >= 2**62:
        return None
    return np.array(found[0], dtype=np.int64), np.array(found[1], dtype=np.int64)


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
    ratio = metric.formula.ratio
    above, above_error = _evaluate(ratio.numerator, tp, fp, fn, tn)
    below, below_error = _evaluate(ratio.denominator, tp, fp, fn, tn)
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

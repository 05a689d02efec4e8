"""Ratios pooled over a data set: min of sum num / sum den, each image with its own budget (MATH.md 3.E).

Not the sum of each image's own worst case, and not exact unless the last price is checked: Dinkelbach's iteration
ends when no image can lower sum(num - price den) any further, in integers, and then the price is the minimum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from robspec.bounds import _carried, search
from robspec.bounds._carried import Array
from robspec.bounds._spooled import Lists
from robspec.bounds.cell_pools import CellPool
from robspec.bounds.cell_ratios import farther
from robspec.bounds.cells import looked_at
from robspec.bounds.confusion import Confusion, value_at, worst_value
from robspec.bounds.context import Context
from robspec.bounds.search import Found
from robspec.ir.plans import OverCounts
from robspec.ir.types import Metric
from robspec.kernels.knapsack import FloatArray, IntArray
from robspec.kernels.knapsack.budget import Budget
from robspec.semantics.constant import Constant

_SAFE = 2**62
_Flips: TypeAlias = Callable[[Confusion], tuple[IntArray, IntArray]]


@dataclass(frozen=True, slots=True)
class Frontier:
    """Reachable numerators and denominators of one image: int64, or Python integers where those might not fit."""

    above: IntArray
    below: IntArray


class Pool:
    """A one-class ratio, or the mean of several, pooled over every image it is given.

    Lists are spooled to a temporary file: memory holds one image at a time.

    Args:
        metric: its formula has a numerator and a denominator linear in the counts.
        classes: number of classes of the model.
        constant: Lipschitz constant for the attack's norm.
        largest: the largest budget that will be asked, None when that is not known.
    """

    def __init__(self, metric: Metric, classes: int, constant: Constant, largest: Fraction | None = None) -> None:
        if not isinstance(metric.plan, OverCounts) or not metric.formula.linear:
            raise ValueError(f"{metric.name} cannot be pooled: its formula is not a quotient of sums of counts")
        self.metric = metric
        self.constant = constant
        self._largest = largest
        self.images = 0
        self._parts = metric.each(classes)
        self._lists: Lists | None = None
        self._kept: list[list[Confusion]] = [[] for _ in self._parts]
        self._cells: list[CellPool] = []

    def add(self, context: Context) -> None:
        """Read one batch; no image is excluded."""
        self.take(self.read(context))
        self.look(context)

    def read(self, context: Context) -> Iterator[Array]:
        """Give what is kept of a batch: of each part counts, and lists as far as the largest budget reaches."""
        for part in self._parts:
            batch = context.one_class(part, part.classes, water=self.constant.output_norm.p == 2)
            images = [Confusion.of(batch, i) for i in range(len(context))]
            yield from _carried.confusions((c, *c.lists(*self._reach(c))) for c in images)

    def take(self, arrays: Iterator[Array]) -> None:
        """Keep what was read of a batch, here or elsewhere."""
        if self._lists is None:
            self._lists = Lists()
        for kept in self._kept:
            images = _carried.confusions_of(arrays)
            kept += [self._spooled(self._lists, *image) for image in images]
        self.images += len(images)

    def look(self, context: Context) -> None:
        """Look at the cells of a batch that was taken, where it has some."""
        if self._lists is None or looked_at(context, self.constant).coarse is None:
            return
        if not self._cells:
            self._cells = [CellPool(self.constant, self._largest, self._lists) for _ in self._parts]
        for cells, part in zip(self._cells, self._parts, strict=True):
            cells.add(context.cells_of_set(part, part.classes))

    def clean(self) -> Fraction | None:
        """Compute the clean pooled value, None where the annotation of all images together does not define it."""
        none = np.zeros(1, dtype=np.int64)
        return self._mean(lambda _: (none, none))

    def worst_case(self, budgets: Sequence[Fraction]) -> tuple[Fraction | None, ...]:
        """Bound the pooled value within each budget (Q1), exactly over the relaxed sets.

        Raises:
            ValueError: a budget is larger than the largest announced.
        """
        if self._largest is not None and any(eps > self._largest for eps in budgets):
            raise ValueError("a budget is larger than the largest announced")
        if self.clean() is None:
            return (None,) * len(budgets)
        return tuple(self._worst(eps) for eps in budgets)

    def radius(self, gamma: Fraction | None, *, strict: bool) -> Found:
        """Bound the budget per image at which the pooled value meets a threshold from below (Q2).

        Raises:
            ValueError: a largest budget was announced, which a radius may exceed.
        """
        if self._largest is not None:
            raise ValueError("a pool with a largest budget gives no radius")
        clean = self.clean()
        if clean is None or gamma is None:
            return None
        found = self._mean(Confusion.everything) if self.constant.value else self._worst(Fraction(1))
        hopeless = worst_value(self.metric) if found is None else found
        known = search.radius(
            self.metric, clean, hopeless, gamma, lambda eps: self._worst(eps, by_cells=False), strict=strict
        )
        if not self._cells or search.meets(self.metric, clean, gamma, strict=strict):
            return known

        def certifies(eps: Fraction) -> bool:
            # Cells whose logits do not move answer every budget alike; rounded full-size logits answer none.
            still = self.constant.coarse == 0
            value = self._mean(Confusion.everything, eps) if still else self._worst(eps)
            worst = worst_value(self.metric) if value is None else value
            return not search.meets(self.metric, worst, gamma, strict=strict)

        return farther(certifies, known, self.constant)

    def close(self) -> None:
        """Delete the spooled lists."""
        self._kept = []
        if self._lists is not None:
            self._lists.close()

    def _worst(self, eps: Fraction, *, by_cells: bool = True) -> Fraction:
        few = eps if by_cells and self._cells else None
        value = self._mean(lambda c: c.reachable(eps, self.constant), few)
        return worst_value(self.metric) if value is None else value

    def _mean(self, flips: _Flips, eps: Fraction | None = None) -> Fraction | None:
        """The worst pooled value over the flips of every image, averaged over the parts the annotation defines.

        Args:
            flips: pairs of flips of an image.
            eps: the budget that is looked at by cells too; None for no look at these.
        """
        values = []
        if any(few.images != self.images for few in self._cells):
            raise ValueError("cells were looked at on some images only")
        for p, (part, images) in enumerate(zip(self._parts, self._kept, strict=True)):
            cells = [sum(cell) for cell in zip(*((c.tp, c.fp, c.fn, c.tn) for c in images), strict=True)]
            needed = part.formula.defined
            if not cells or not (sum(cells) if needed is None else needed.at(*cells)):
                continue
            value = pooled_extreme(part, [_frontier(part, c, *flips(c)) for c in images])
            if value is None and part.worst is None:
                return None
            value = worst_value(part) if value is None else value
            if eps is not None:
                clean = value_at(part, *cells)
                value = self._cells[p].better(part, eps, value, clean)
            values.append(value)
        return sum(values, Fraction(0)) / len(values) if values else None

    def _reach(self, confusion: Confusion) -> tuple[Budget | None, Budget | None]:
        return (None, None) if self._largest is None else confusion.budgets(self._largest, self.constant)

    @staticmethod
    def _spooled(lists: Lists, confusion: Confusion, leave: FloatArray, enter: FloatArray) -> Confusion:
        first, second = lists.keep(leave), lists.keep(enter)
        return replace(confusion, lists=lambda _leave, _enter: (first(), second()))


def _frontier(metric: Metric, c: Confusion, a: IntArray, b: IntArray) -> Frontier:
    """Numerator and denominator, integers, for each pair of flips."""
    ratio = metric.formula.ratio
    sums = (ratio.numerator, ratio.denominator)
    # A decimal of sixteen digits makes integers of sixteen digits: times the counts they may not fit 64 bits.
    largest = max(sum(map(abs, s.coefficients)) for s in sums) * (c.tp + c.fp + c.fn + c.tn)
    kind = np.dtype(np.int64) if largest < _SAFE else np.dtype(object)
    columns = tuple(x.astype(kind) for x in (c.tp - a, c.fp + b, c.fn + a, c.tn - b))

    def linear(terms: Sequence[tuple[tuple[int, int, int, int], int]]) -> IntArray:
        total = np.zeros(len(a), dtype=kind)
        for exponents, coefficient in terms:
            total += coefficient * columns[exponents.index(1)]
        return total

    return Frontier(linear(ratio.numerator.terms), linear(ratio.denominator.terms))


def pooled_extreme(metric: Metric, images: Sequence[Frontier]) -> Fraction | None:
    """Find the worst pooled ratio over every choice of one reachable pair per image, exactly.

    Args:
        metric: its polarity says what is worst.
        images: at least one reachable pair each.

    Returns:
        The smallest sum num / sum den (the largest where lower is better); the worst value where every denominator
        can be brought to 0; None where the denominator is 0 whatever the attack does.

    Source: Dinkelbach 1967; MATH.md section 3.E.
    """
    if sum(int(f.below.max()) for f in images) == 0:
        return None
    if sum(int(f.below.min()) for f in images) == 0:
        return metric.worst
    sign = -1 if metric.lower_is_better else 1
    above = [sign * f.above for f in images]
    start = [int(np.argmax(f.below)) for f in images]
    price = Fraction(
        sum(int(n[i]) for n, i in zip(above, start, strict=True)),
        sum(int(f.below[i]) for f, i in zip(images, start, strict=True)),
    )
    while True:
        chosen = [_cheapest(n, f.below, price) for n, f in zip(above, images, strict=True)]
        num = sum(int(n[i]) for n, i in zip(above, chosen, strict=True))
        den = sum(int(f.below[i]) for f, i in zip(images, chosen, strict=True))
        # F(price) = num - price den is 0 at the minimum and negative above it; den is 0 only where F is 0 too.
        if num - price * den >= 0:
            return sign * price
        if den == 0:
            return metric.worst
        price = Fraction(num, den)


def _cheapest(above: IntArray, below: IntArray, price: Fraction) -> int:
    """Index of the least num - price den, in integers."""
    largest = max(int(np.abs(above).max()), int(np.abs(below).max()), 1)
    if 2 * largest * max(abs(price.numerator), price.denominator) < _SAFE:
        return int(np.argmin(above * price.denominator - below * price.numerator))
    exact = [n * price.denominator - d * price.numerator for n, d in zip(above.tolist(), below.tolist(), strict=True)]
    return min(range(len(exact)), key=exact.__getitem__)

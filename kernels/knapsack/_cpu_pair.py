"""One of two classes on large images: the least quotient over all affordable flips, from two windows of items."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from robspec.kernels._threads import share
from robspec.kernels.knapsack import BoolArray, FloatArray, IntArray, LogitsBatch, OneClass, _views
from robspec.kernels.knapsack._pair import BEYOND, PASSES, Looked, Pair, bits, spread, water
from robspec.kernels.knapsack._quotient import Market, Quotient, Run, aim, settle
from robspec.kernels.knapsack.budget import Budget, affordable, costs


class TwoClasses:
    """One of two classes: counted at once, read again when a budget is known.

    Args:
        batch: K is 1 or 2, the set one class, every cost charged in full.
        whole: reads the batch as if it were small, for what is asked of its lists.
    """

    backend = "cpu"

    def __init__(self, batch: LogitsBatch, whole: Callable[[LogitsBatch], OneClass]) -> None:
        from robspec.kernels.knapsack import _two

        self._batch, self._whole = batch, whole
        self._pair = pair = Pair(batch)
        self.pixels, self.single = pair.pixels, batch.logits.shape[1] == 1
        self.leave_squared, self.enter_squared = False, batch.water and not self.single
        self._k, images = batch.inside[0], len(batch.logits)
        counts = np.empty((images, _views.workers(self.pixels, _two.CHUNK), 5), dtype=np.int64)
        tasks = counts.shape[0] * counts.shape[1]
        share(_two.confusion, tasks, pair.z, pair.widen, pair.labels, pair.ignore, self._k, counts)
        totals: IntArray = np.add.reduce(counts, axis=1)
        self.tp, self.fp, self.fn, self.tn = (totals[:, j] for j in range(4))
        self.finite: BoolArray = totals[:, 4] == 0
        self._lists: OneClass | None = None
        self._passes = [0] * images

    def lists(
        self, image: int, leave: Budget | None = None, enter: Budget | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """See `OneClass.lists`."""
        if self._lists is None:
            self._lists = self._whole(self._batch)
        return self._lists.lists(image, leave, enter)

    def least_quotient(
        self, image: int, leave: Budget, enter: Budget, used: tuple[bool, bool], above: IntArray, below: IntArray
    ) -> tuple[int, int] | None:
        """See `Windowed.least_quotient`."""
        if self._lists is not None or not self.finite[image] or not leave.exponent:
            return None
        if leave.limit != enter.limit or self._passes[image] == PASSES:
            return None
        self._passes[image] += 1
        cells = np.array([cell[image] for cell in (self.tp, self.fp, self.fn, self.tn)])
        problem = Quotient(cells, above, below, int(cells[0]) * used[0], int(cells[3]) * used[1])
        sides = (_Side(leave, False), _Side(enter, self.enter_squared))
        if not problem.positive:
            return None
        sampled, stands_for = self._pair.sample(image, self._k)
        priced = [side.costs(some if use else some[:0]) for side, some, use in zip(sides, sampled, used, strict=True)]
        guess = aim(problem, Market(priced[0], priced[1], stands_for), float(leave.limit), spread)
        if guess is None:
            return None
        windows = [
            (side.bits(low), side.bits(high)) if use else (0, 0)
            for side, use, (low, high) in zip(sides, used, guess, strict=True)
        ]
        looked, _ = self._pair.look(image, self._k, windows, [leave, enter], squared=self.enter_squared)
        runs = [side.run(found) if use else _NONE for side, use, found in zip(sides, used, looked, strict=True)]
        return settle(problem, runs[0], runs[1], leave.limit)


_NONE = Run(0, 0, np.empty(0, dtype=np.int64), 0, None)


@dataclass(frozen=True, slots=True)
class _Side:
    """Leave or enter items: margins, and what flipping costs.

    Args:
        budget: with exponent 1 or 2.
        squared: whether items are squared distances by water filling.
    """

    budget: Budget
    squared: bool

    def costs(self, margins: FloatArray) -> FloatArray:
        """Price sampled margins, roughly."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            found: FloatArray = self._items(margins) ** self.budget.exponent * self.budget.scale
        return found

    def bits(self, cost: float) -> int:
        """The bit pattern of a margin of about this cost; that beyond all for infinity."""
        item = cost / self.budget.scale if self.budget.scale else math.inf
        squares = self.squared or self.budget.exponent == 2
        return bits(math.sqrt(item * (2 if self.squared else 1)) if squares else item)

    def run(self, found: Looked) -> Run:
        """Price what was found."""
        inside = affordable(self._items(found.inside), self.budget)
        ends = np.array([found.low, min(found.high, BEYOND - 1)], dtype=np.int64).view(np.float64)
        before, beyond = costs(self._items(ends), self.budget).tolist()
        last = found.high == BEYOND or len(inside) < len(found.inside) or beyond > self.budget.limit
        return Run(found.count, found.cost, inside, before if found.low else 0, None if last else beyond)

    def _items(self, margins: FloatArray) -> FloatArray:
        return water(margins) if self.squared else margins

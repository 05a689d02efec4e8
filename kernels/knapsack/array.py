"""Few logits by numpy alone: nothing is compiled, so that a first answer does not wait for it.

Every margin is one subtraction of doubles and every cost is rounded by `budget.costs`, as the reference has it; water
filling adds up in class order, as everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from robspec import arrays
from robspec.arrays import Array
from robspec.kernels.knapsack import BoolArray, FloatArray, IntArray, Items, LogitsBatch, squared_lists
from robspec.kernels.knapsack._running import counts
from robspec.kernels.knapsack._spending import Sorted
from robspec.kernels.knapsack.budget import Budget, costs

_SAFE = 1 - 2.0**-40
"""As in `reference.water_filling`: its rounding stays on the side of cheaper attacks."""


def _planes(logits: Array) -> FloatArray:
    """Give logits as doubles, [B, K, P]; each type of floating point is exact in them."""
    b, k, h, w = logits.shape
    planes: FloatArray = arrays.doubles(logits).reshape(b, k, h * w)
    return planes


def _finite(planes: FloatArray) -> BoolArray:
    found: BoolArray = np.logical_and.reduce(np.isfinite(planes), axis=(1, 2))
    return found


def _labels(labels: Array, pixels: int) -> IntArray:
    rows: IntArray = arrays.host(labels).reshape(labels.shape[0], pixels)
    return rows


def _first_largest(planes: FloatArray) -> tuple[FloatArray, FloatArray, IntArray]:
    """Find the two largest logits of each pixel, equal where they tie, and the first class of the largest."""
    first, second = planes[:, 0].copy(), np.full_like(planes[:, 0], -np.inf)
    at = np.zeros(first.shape, dtype=np.int64)
    for k in range(1, planes.shape[1]):
        later = planes[:, k] > first
        second = np.maximum(second, np.where(later, first, planes[:, k]))
        at[later] = k
        first = np.where(later, planes[:, k], first)
    return first, second, at


class ArrayPrepared(Sorted):
    """Margins of a batch, float64 [B, P], NaN where a pixel is no item; sorted image by image when asked for."""

    backend = "numpy"

    @np.errstate(over="ignore", invalid="ignore")
    def __init__(self, batch: LogitsBatch) -> None:
        planes = _planes(batch.logits)
        b, k, self.pixels = planes.shape
        self.single = k == 1
        self.finite = _finite(planes)
        if self.single:
            margins, predicted = np.abs(planes[:, 0]), (planes[:, 0] > 0).astype(np.int64)
        else:
            first, second, predicted = _first_largest(planes)
            # The absolute value only takes the sign off zeros.
            margins = np.abs(first - second)
        seen = np.ones((b, self.pixels), dtype=np.bool_)
        if batch.labels is not None:
            labels = _labels(batch.labels, self.pixels)
            if batch.ignore is not None:
                seen &= labels != batch.ignore
            if batch.items is not Items.PREDICTED:
                margins[labels != predicted] = np.nan
        margins[~seen] = np.nan
        self._margins = margins
        self.valid: IntArray = np.count_nonzero(seen, axis=1)
        self.items: IntArray = np.count_nonzero(margins >= 0, axis=1)
        self._sorted = np.zeros(b, dtype=np.bool_)

    def flips(self, budgets: Sequence[Budget]) -> IntArray:
        """See `Prepared.flips`."""
        out = np.zeros((len(self.items), len(budgets)), dtype=np.int64)
        summed = [m for m, budget in enumerate(budgets) if budget.exponent]
        for i in np.flatnonzero(self.finite).tolist():
            ascending = self._prefix(i, 0)
            for m, budget in enumerate(budgets):
                if not budget.exponent:
                    out[i, m] = np.searchsorted(ascending, budget.scale, side="right")
            out[i, summed] = counts(ascending, [budgets[m] for m in summed], partial(_fitting, ascending))
        return out

    def _prefix(self, image: int, rank: int) -> FloatArray:
        row = self._margins[image]
        if not self._sorted[image]:
            row.sort()
            self._sorted[image] = True
        ascending: FloatArray = row[: self.items[image]]
        return ascending


def _fitting(ascending: FloatArray, budget: Budget) -> int:
    """Count how many leading items fit a budget together."""
    # At most P (2^b + 1) < 2^63, as in `cpu`.
    return int(np.searchsorted(costs(ascending, budget).cumsum(), budget.limit, side="right"))


def water_filling(behind: FloatArray, ahead: FloatArray) -> FloatArray:
    """Compute `reference.water_filling` of many pixels.

    Args:
        behind: [N], the best logit of the side that is behind.
        ahead: [J, N], the logits of the side that is ahead, in class order.

    Returns:
        [N], squared distances, each the bits that the reference has.
    """
    gaps = ahead - behind
    level, above = np.zeros(behind.shape), np.full(behind.shape, -1.0)
    moving = np.ones(behind.shape, dtype=np.bool_)
    while moving.any():
        total, number = np.zeros(behind.shape), np.zeros(behind.shape)
        for row in gaps:
            hit = row > level
            total += np.where(hit, row, 0.0)
            number += hit
        moving = number != above
        above = number
        level = np.where(moving, np.maximum(level, total / (number + 1.0)), level)
    squared = level * level
    for row in gaps:
        over = row - level
        squared += np.where(row > level, over * over, 0.0)
    return squared * _SAFE


class ArrayClass:
    """The confusion matrix and items of one class set.

    Args:
        batch: what to read.
    """

    backend = "numpy"

    @np.errstate(over="ignore", invalid="ignore")
    def __init__(self, batch: LogitsBatch) -> None:
        if batch.labels is None:
            raise ValueError("labels are needed")
        planes = _planes(batch.logits)
        b, k, self.pixels = planes.shape
        self.single = k == 1
        self.finite = _finite(planes)
        self.leave_squared, self.enter_squared = squared_lists(batch)
        labels = _labels(batch.labels, self.pixels)
        inside = np.isin(np.arange(max(k, 2)), batch.inside)
        seen = (labels >= 0) & (labels < max(k, 2))
        if batch.ignore is not None:
            seen &= labels != batch.ignore
        mine = inside[np.where(seen, labels, 0)]
        predicted = (planes[:, 0] > 0).astype(np.int64) if self.single else _first_largest(planes)[2]
        ahead = inside[predicted]
        cells = (seen & mine & ahead, seen & ~mine & ahead, seen & mine & ~ahead, seen & ~mine & ~ahead)
        self.tp, self.fp, self.fn, self.tn = (np.count_nonzero(cell, axis=1) for cell in cells)
        self._lists: list[tuple[FloatArray, FloatArray]] = []
        for i in range(b):
            if not self.finite[i]:
                self._lists.append((np.empty(0), np.empty(0)))
                continue
            leave, enter = cells[0][i], cells[3][i]
            mine_items = _items(planes[i][:, leave], batch, inside, leaving=True, squared=self.leave_squared)
            others = _items(planes[i][:, enter], batch, inside, leaving=False, squared=self.enter_squared)
            charged = np.full(others.shape, batch.share)
            if batch.whole_when_wrong and not self.single:
                there = planes[i][:, enter]
                at_label = np.take_along_axis(there, labels[i][enter][None], axis=0)[0]
                charged[at_label != there.max(axis=0, initial=-np.inf)] = 1.0
            self._lists.append((np.sort(mine_items * batch.share), np.sort(others * charged)))

    def lists(
        self, image: int, leave: Budget | None = None, enter: Budget | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """See `OneClass.lists`: always whole."""
        return self._lists[image]


def _items(
    logits: FloatArray, batch: LogitsBatch, inside: npt.NDArray[np.bool_], *, leaving: bool, squared: bool
) -> FloatArray:
    """Price pixels that are on one side, [K, N]: as `reference` does each by itself."""
    if logits.shape[0] == 1:
        found: FloatArray = logits[0] * logits[0] * _SAFE if squared else np.abs(logits[0])
        return found
    ahead, behind = logits[inside == leaving], logits[inside != leaving].max(axis=0, initial=-np.inf)
    gap: FloatArray = ahead.max(axis=0, initial=-np.inf) - behind
    if not squared:
        return gap
    if leaving and len(batch.inside) == 1:
        pair: FloatArray = gap * gap * 0.5 * _SAFE
        return pair
    return water_filling(behind, ahead)


def frontier(leave: IntArray, enter: IntArray, limit: int, out: IntArray) -> int:
    """Pair every affordable number of leaves with the most enters the rest of the budget buys: see `reference`."""
    spent, enters = (np.concatenate(([0], np.cumsum(part, dtype=np.int64))) for part in (leave, enter))
    count = int(np.searchsorted(spent, limit, side="right"))
    out[:count] = np.searchsorted(enters, limit - spent[:count], side="right") - 1
    return count


def worst_quotient(
    leave: IntArray, enter: IntArray, limit: int, counts: IntArray, above: IntArray, below: IntArray
) -> tuple[int, int, bool]:
    """Find the least quotient of two sums of counts over every affordable pair of flips, exactly: see `reference`.

    The largest numerator times the largest denominator, over all counts of the image, must be below 2^62.
    """
    most = np.empty(len(leave) + 1, dtype=np.int64)
    count = frontier(leave, enter, limit, most)
    a, b = np.arange(count), most[:count]
    tp, fp, fn, tn = counts.tolist()
    cells = (tp - a, fp + b, fn + a, tn - b)
    n, d = (sum(int(c) * x for c, x in zip(row, cells, strict=True)) for row in (above, below))
    n, d = np.where(d < 0, -n, n), np.abs(d)
    vanishes = bool((d == 0).any())
    n, d = n[d > 0], d[d > 0]
    if not len(d):
        return 0, 0, vanishes
    best = 0
    while True:
        # Products are exact in 64 bits, so that this ends at the least quotient, wherever it begins.
        better = np.flatnonzero(n * d[best] < n[best] * d)
        if not len(better):
            return int(n[best]), int(d[best]), vanishes
        best = int(better[np.argmin(n[better] / d[better])])


class ArrayBackend:
    """numpy, one thread."""

    name = "numpy"

    def unavailable(self) -> str | None:
        """See `Backend.unavailable`: numpy is everywhere."""
        return None

    def prepare(self, batch: LogitsBatch) -> ArrayPrepared:
        """See `Backend.prepare`."""
        return ArrayPrepared(batch)

    def prepare_class(self, batch: LogitsBatch) -> ArrayClass:
        """See `Backend.prepare_class`."""
        return ArrayClass(batch)

    def rank(self, logits: Array) -> object:
        """See `Backend.rank`: each class reads all logits again."""
        return None


BACKEND = ArrayBackend()

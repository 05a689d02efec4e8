"""Both kinds of flips of a class set on the CPU: what cells give up, as sums over arrays of items sorted by cell.

Pixels are interpolated some rows at a time, so that full-size logits are not in memory here; of pixels there is a key
each, and only those that a budget reaches are sorted.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from robspec import arrays
from robspec.kernels.coarse import ClassBatch, Keep
from robspec.kernels.coarse.grid import Axis, Grid
from robspec.kernels.knapsack import BoolArray, FloatArray, IntArray
from robspec.kernels.knapsack.budget import Budget

_AT_ONCE = 1 << 20
"""Logits of a strip of rows."""


@dataclass(frozen=True, slots=True)
class _Items:
    """Items within a budget, those of a cell together and by cost, leaves before enters that cost the same.

    Args:
        costs: int64 [n], grid units.
        leaves: int64 [n], leaves of the cell up to each.
        enters: int64 [n], enters.
        starts: int64 [cells], where each cell begins.
        cell: int64 [n], which cell each belongs to, from 0 on.
        colours: int64 [cells].
    """

    costs: IntArray
    leaves: IntArray
    enters: IntArray
    starts: IntArray
    cell: IntArray
    colours: IntArray


class ArrayClass:
    """The images of a batch, read for one class set.

    Args:
        batch: coarse logits and labels.
    """

    def __init__(self, batch: ClassBatch) -> None:
        grid = batch.grid
        self.pixels, self.single, self.colours = math.prod(grid.shape), batch.logits.shape[1] == 1, grid.colours
        maps = arrays.doubles(batch.logits)
        labels = arrays.host(batch.labels)
        inside = np.isin(np.arange(batch.classes), batch.inside)
        read = [_read(z, grid, asked, inside) for z, asked in zip(maps, labels, strict=True)]
        self.counts: IntArray = np.array([counts for counts, _, _ in read], dtype=np.int64)
        self._images = [_Image(grid, keys, places) for _, keys, places in read]

    def given_up(self, image: int, budget: Budget, leave: IntArray, enter: IntArray) -> IntArray:
        """See `CoarseClass.given_up`."""
        return self._images[image].given_up(budget, leave, enter)

    def stored(self, image: int, largest: Budget | None, keep: Keep) -> Callable[[], ArrayClass]:
        """See `CoarseClass.stored`."""
        one = self._images[image]
        near = slice(None) if largest is None else _reached(one.keys, largest)[0]
        # Places are integers far below 2^53.
        keys, places = keep(one.keys[near]), keep(one.places[near].astype(np.float64))
        found = copy.copy(self)
        found._images, found.counts = [], self.counts[image : image + 1]

        def again() -> ArrayClass:
            opened = copy.copy(found)
            opened._images = [_Image(one.grid, keys(), places().astype(np.int64))]
            return opened

        return again


def _read(z: FloatArray, grid: Grid, labels: IntArray, inside: BoolArray) -> tuple[IntArray, FloatArray, IntArray]:
    """Interpolate an image, some rows at a time.

    Args:
        z: float64 [K, h, w].
        grid: how pixels are made of them.
        labels: int64 [H, W].
        inside: bool [K or 2], which classes are in the set.

    Returns:
        TP, FP, FN and TN; the keys of items; and of each its cell, twice over, and 1 more if it enters.
    """
    slack = grid.slack(float(np.abs(z).max()))
    across, down = np.array(grid.columns.inverse), np.array(grid.rows.inverse)
    rows, columns = np.array(grid.rows.cells), np.array(grid.columns.cells)
    strip = max(1, _AT_ONCE // (len(z) * grid.shape[1]))
    keys, places, counts = [], [], np.zeros(4, np.int64)
    for begin in range(0, grid.shape[0], strip):
        lines = np.arange(begin, min(begin + strip, grid.shape[0]))
        values = _blend(_blend(z, grid.rows, lines, 1), grid.columns, np.arange(grid.shape[1]), 2)
        chosen, gaps = _apart(values, inside)
        asked = labels[lines]
        there = (asked >= 0) & (asked < len(inside))
        right = inside[np.where(there, asked, 0)]
        for place, (wanted, found) in enumerate(((True, True), (False, True), (True, False), (False, False))):
            counts[place] += np.count_nonzero(there & (right == wanted) & (chosen == found))
        margins = np.maximum(gaps - slack, 0.0)
        items = there & (right == chosen)
        cells = rows[lines, None] * grid.columns.nodes + columns
        keys.append((margins * margins * down[lines, None] * across)[items])
        places.append((2 * cells + ~right)[items])
    return counts, np.concatenate(keys), np.concatenate(places)


def _reached(keys: FloatArray, budget: Budget) -> tuple[IntArray, IntArray]:
    """Find the items that a budget may pay for, and what they cost."""
    with np.errstate(over="ignore"):
        units = keys * budget.scale if budget.exponent else np.where(keys == 0, 0.0, 1.0)
    near = np.flatnonzero(units < budget.limit + 1)
    return near, units[near].astype(np.int64)


class _Image:
    """Keys of an image's items.

    Args:
        grid: how pixels are made of nodes.
        keys: float64 [n], as `_read` gives them.
        places: int64 [n].
    """

    def __init__(self, grid: Grid, keys: FloatArray, places: IntArray) -> None:
        self.grid, self.keys, self.places = grid, keys, places
        self._last: tuple[Budget, _Items] | None = None

    def _within(self, budget: Budget) -> _Items:
        """Sort the items that a budget reaches; those of the last one are kept, as many prices are asked of it."""
        if self._last is None or self._last[0] != budget:
            near, costs = _reached(self.keys, budget)
            name, enters = np.divmod(self.places[near], 2)
            order = np.lexsort((enters, costs, name))
            name, enters = name[order], enters[order]
            first = np.diff(name, prepend=-1) != 0
            starts, cell = np.flatnonzero(first), np.cumsum(first) - 1
            # Enters, and items, up to each, of its own cell.
            sums = np.cumsum(enters)
            mine = sums - (sums[starts] - enters[starts])[cell]
            number = np.arange(len(name)) - starts[cell] + 1
            rows, columns = np.divmod(name[starts], self.grid.columns.nodes)
            tall, wide = self.grid.rows.colours, self.grid.columns.colours
            colours = rows % tall * wide + columns % wide
            self._last = budget, _Items(costs[order], number - mine, mine, starts, cell, colours)
        return self._last[1]

    def given_up(self, budget: Budget, leave: IntArray, enter: IntArray) -> IntArray:
        """See `CoarseClass.given_up`."""
        items, found = self._within(budget), np.zeros((4, self.grid.colours), np.int64)
        if not len(items.costs):
            return found
        of = items.colours[items.cell]
        worth = items.leaves * leave[of] + items.enters * enter[of] - items.costs
        best = np.maximum.reduceat(worth, items.starts)
        # The first of the best, where that is worth anything.
        places = np.where(worth == best[items.cell], np.arange(len(worth)), len(worth))
        chosen = np.minimum.reduceat(places, items.starts)[best > 0]
        colours = items.colours[best > 0]
        for row, values in enumerate((worth, items.costs, items.leaves, items.enters)):
            np.add.at(found[row], colours, values[chosen])
        return found


def _blend(z: FloatArray, axis: Axis, lines: IntArray, dim: int) -> FloatArray:
    """Interpolate along one dimension, products added up from the first on."""
    weights, cells = np.array(axis.weights)[lines], np.array(axis.cells)[lines]
    shape = [1, 1, 1]
    shape[dim] = len(lines)
    total: FloatArray = weights[:, 0].reshape(shape) * z.take(cells, axis=dim)
    for s in range(1, axis.span):
        total = total + weights[:, s].reshape(shape) * z.take(cells + s, axis=dim)
    return total


def _apart(values: FloatArray, inside: BoolArray) -> tuple[BoolArray, FloatArray]:
    """Tell of each pixel whether the set is predicted, and how far its largest logit is from that of all others."""
    if len(values) == 1:
        return (values[0] > 0) == inside[1], np.abs(values[0])
    chosen: BoolArray = inside[values.argmax(axis=0)]
    gaps: FloatArray = np.abs(values[inside].max(axis=0) - values[~inside].max(axis=0))
    return chosen, gaps

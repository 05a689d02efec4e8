"""The bound over cells on the CPU: keys are sorted once, the envelopes are found anew for every budget."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np

from robspec.kernels._threads import share
from robspec.kernels.coarse.grid import Axis, Grid
from robspec.kernels.knapsack import IntArray, Items, LogitsBatch, _views
from robspec.kernels.knapsack._views import NO_LABEL, label_view, numpy_view
from robspec.kernels.knapsack.budget import Budget

_APART = 2**11
"""Slopes of pieces that flip fewer pixels are equal as doubles only where they are equal."""


class CpuCoarse:
    """Keys of a batch, float64 [B, P], cell after cell."""

    backend = "cpu"

    def __init__(self, batch: LogitsBatch, grid: Grid) -> None:
        from robspec.kernels.coarse import _cells
        from robspec.kernels.knapsack import _margins

        b, k, h, w = batch.logits.shape
        self.pixels, self.single, self._width = h * w, k == 1, w
        z, widen = numpy_view(batch.logits)
        labels = label_view(batch.labels, b, self.pixels)
        workers = _views.workers(self.pixels, _margins.CHUNK)
        margins = np.empty((b, self.pixels))
        histogram = np.empty((b, workers, _margins.BUCKETS), dtype=np.int32)
        counts = np.empty((b, workers, 3), dtype=np.int64)
        ignore = NO_LABEL if batch.ignore is None else batch.ignore
        every = batch.items is Items.PREDICTED
        share(_margins.read, b * workers, z, widen, labels, ignore, every, margins, histogram, counts)
        self.items: IntArray = np.add.reduce(counts, axis=1)[:, 0]
        self._starts = _starts(grid.rows), _starts(grid.columns)
        rows, columns = (_names(axis) % axis.colours for axis in (grid.rows, grid.columns))
        self._colour = (rows[:, None] * grid.columns.colours + columns[None, :]).reshape(-1)
        self._colours = grid.colours
        self._keys = np.empty((b, self.pixels))
        self._counts = np.empty((b, self._colour.size), dtype=np.int64)
        inverse = np.array(grid.rows.inverse), np.array(grid.columns.inverse)
        self._level = np.zeros(b, dtype=np.int64)
        for i in range(b):
            plane = margins[i].reshape(h, w)
            self._level[i] = np.count_nonzero(plane * plane * inverse[0][:, None] * inverse[1] == 0)
            _cells.gather(plane, self._counts[i], *inverse, *self._starts, self._keys[i])

    def flips(self, budgets: Sequence[Budget]) -> IntArray:
        """See `CoarsePrepared.flips`."""
        out = [[self.flips_of(i, budget) for budget in budgets] for i in range(len(self.items))]
        return np.array(out, dtype=np.int64).reshape(len(self.items), len(budgets))

    def flips_of(self, image: int, budget: Budget) -> int:
        """See `CoarsePrepared.flips_of`."""
        from robspec.kernels.coarse import _cells

        if not budget.exponent:
            return int(self._level[image])
        scale, limit = budget.scale, budget.limit
        keys, counts = self._keys[image], self._counts[image]
        lengths, gains = np.empty(self.pixels, dtype=np.int64), np.empty(self.pixels, dtype=np.int64)
        found, free = np.empty_like(counts), np.empty_like(counts)
        layout = (*self._starts, self._width)
        _cells.corners(keys, counts, *layout, scale, limit, lengths, gains, found, free)
        total = int(free.sum())
        # Cells of one colour stand together.
        order = np.argsort(self._colour, kind="stable")
        ends = np.cumsum(found[order])
        places = np.empty_like(counts)
        places[order] = ends - found[order]
        pieces = np.empty((2, int(ends[-1])), dtype=np.int64)
        _cells.collect(*layout, found, places, lengths, gains, pieces[0], pieces[1])
        sizes = np.bincount(self._colour, weights=found, minlength=self._colours).astype(np.int64)
        edges = np.concatenate(([0], np.cumsum(sizes)))
        return total + sum(_most(pieces[0, a:b], pieces[1, a:b], limit) for a, b in pairwise(edges.tolist()))


def _most(lengths: IntArray, gains: IntArray, limit: int) -> int:
    """Take pieces by slope, steepest first, until the budget is spent; of the last one a part, rounded down."""
    if int(lengths.sum()) <= limit:
        return int(gains.sum())
    # A quotient of integers that doubles hold is rounded once, so that its order is right but for ties.
    flat = lengths / gains
    order = np.argsort(flat)
    spent = np.cumsum(lengths[order])
    last = int(np.searchsorted(spent, limit, side="right"))
    same = flat[order] == flat[order[last]]
    first, end = int(same.argmax()), len(same) - int(same[::-1].argmax())
    level = order[first:end].tolist()
    if int(gains[level].max()) >= _APART:
        level.sort(key=lambda at: Fraction(int(lengths[at]), int(gains[at])))
    flipped = int(gains[order[:first]].sum())
    left = limit - (int(spent[first - 1]) if first else 0)
    for at in level:
        length, gain = int(lengths[at]), int(gains[at])
        if length > left:
            return flipped + gain * left // length
        flipped, left = flipped + gain, left - length
    return flipped


def _names(axis: Axis) -> IntArray:
    """The cells of a dimension that hold pixels, in order."""
    return np.unique(np.array(axis.cells, dtype=np.int64))


def _starts(axis: Axis) -> IntArray:
    """Where each cell begins, and where the last ends; pixels of one cell stand together."""
    cells = np.array(axis.cells, dtype=np.int64)
    if np.any(np.diff(cells) < 0):
        raise ValueError("cells must ascend")
    changes = np.flatnonzero(np.diff(cells)) + 1
    return np.concatenate(([0], changes, [len(cells)])).astype(np.int64)

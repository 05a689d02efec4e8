"""The bound over cells on the CPU: keys are computed and sorted once, envelopes are found anew for every budget."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import torch

from robspec.kernels.coarse import CoarseBatch
from robspec.kernels.coarse.grid import Axis
from robspec.kernels.knapsack import BoolArray, FloatArray, IntArray, Items, _views
from robspec.kernels.knapsack._views import NO_LABEL
from robspec.kernels.knapsack.budget import Budget
from robspec.kernels.knapsack.cpu import CpuPrepared

_APART = 2**11
"""Slopes of pieces that flip fewer pixels are equal as doubles only where they are equal."""


class CpuCoarse:
    """Keys of a batch, float64 [B, bands, pixels of a cell, cells of a band]."""

    backend = "cpu"

    def __init__(self, batch: CoarseBatch) -> None:
        from robspec.kernels.coarse import _stream
        from robspec.kernels.knapsack import _margins

        grid = batch.grid
        b, k, _, _ = batch.logits.shape
        height, width = grid.shape
        self.pixels, self.single = height * width, k == 1
        z = batch.logits.detach().cpu().to(torch.float64).contiguous().numpy()
        rows, columns = _Lines(grid.rows), _Lines(grid.columns)
        bands, cells, tall, wide = len(rows.cells), len(columns.cells), rows.most, columns.most
        labels = np.empty((b, 0, 0), np.int64)
        if batch.labels is not None:
            labels = batch.labels.detach().cpu().contiguous().numpy()
        workers = _views.workers(bands, 1)
        margins = np.empty((b, bands, tall, wide * cells))
        self._keys: FloatArray = np.empty((b, bands, tall * wide, cells))
        histogram = np.empty((b, workers, _margins.BUCKETS), np.int32)
        counts, met = np.empty((b, workers, 2), np.int64), np.empty((b, workers, max(k, 2)), np.bool_)
        _stream.read(
            z,
            rows.weights,
            rows.cells,
            rows.starts,
            columns.by_slot(columns.weights),
            columns.cells,
            columns.starts,
            rows.inverse,
            columns.by_slot(columns.inverse[:, None]).reshape(-1),
            labels,
            NO_LABEL if batch.ignore is None else batch.ignore,
            batch.items is Items.PREDICTED,
            np.array([grid.slack(float(np.abs(image).max())) for image in z]),
            margins,
            self._keys,
            histogram,
            counts,
            met,
        )
        self.items: IntArray = counts[:, :, 0].sum(axis=1)
        self.predicted: BoolArray = np.logical_or.reduce(met, axis=1)
        span = -(-bands // workers) * tall * wide * cells
        given = (histogram, self.items, counts[:, :, 1].sum(axis=1), span)
        self.full = CpuPrepared.of_margins(margins.reshape(b, -1), *given, pixels=self.pixels, single=self.single)
        self._bands, self._columns = rows.coloured(grid.rows), columns.coloured(grid.columns)
        self._pieces = np.empty((2, bands, tall * wide * cells), np.int64)

    def flips(self, budgets: Sequence[Budget]) -> IntArray:
        """See `CoarsePrepared.flips`."""
        out = [[self.flips_of(i, budget) for budget in budgets] for i in range(len(self.items))]
        return np.array(out, dtype=np.int64).reshape(len(self.items), len(budgets))

    def flips_of(self, image: int, budget: Budget) -> int:
        """See `CoarsePrepared.flips_of`."""
        from robspec.kernels.coarse import _cells

        keys = self._keys[image]
        if not budget.exponent:
            return int(np.count_nonzero(keys == 0))
        lengths, gains = self._pieces
        (bands, begins), (order, starts) = self._bands, self._columns
        ends, free = np.empty((len(keys), len(starts)), np.int64), np.empty(len(keys), np.int64)
        _cells.corners(keys, order, starts, budget.scale, budget.limit, lengths, gains, ends, free)
        shape = (len(begins) - 1, len(starts) - 1, _cells.BUCKETS)
        sums = np.zeros((3, *shape), np.int64)
        _cells.steepness(lengths, gains, ends, bands, begins, *sums)
        spent = np.cumsum(sums[0], axis=-1)
        # The first bucket that the budget cannot pay for together with all before it.
        wanted = np.where(spent[..., -1] > budget.limit, (spent > budget.limit).argmax(axis=-1), -1)
        at = np.maximum(wanted, 0)[..., None]
        number = np.where(wanted < 0, 0, np.take_along_axis(sums[2], at, -1)[..., 0])
        places = np.concatenate(([0], np.cumsum(number)))
        found = np.empty((2, int(places[-1])), np.int64)
        _cells.pick(lengths, gains, ends, bands, begins, wanted, places, found)
        total = int(free.sum())
        for n, (row, column) in enumerate(np.ndindex(*shape[:2])):
            bucket = int(wanted[row, column])
            if bucket < 0:
                total += int(sums[1, row, column].sum())
                continue
            before = int(spent[row, column, bucket - 1]) if bucket else 0
            part = slice(int(places[n]), int(places[n + 1]))
            total += int(sums[1, row, column, :bucket].sum())
            total += _most(found[0, part], found[1, part], budget.limit - before)
        return total


class _Lines:
    """One dimension of a grid as arrays: cells that hold pixels, in order, and where each begins."""

    def __init__(self, axis: Axis) -> None:
        names = np.array(axis.cells, dtype=np.int64)
        if np.any(np.diff(names) < 0):
            raise ValueError("cells must ascend")
        changes = np.flatnonzero(np.diff(names)) + 1
        self.starts: IntArray = np.concatenate(([0], changes, [len(names)])).astype(np.int64)
        self.cells: IntArray = names[self.starts[:-1]]
        self.most = int(np.diff(self.starts).max())
        self.weights: FloatArray = np.array(axis.weights, dtype=np.float64)
        self.inverse: FloatArray = np.array(axis.inverse, dtype=np.float64)

    def by_slot(self, values: FloatArray) -> FloatArray:
        """Lay out numbers of the pixels, [W, T], as [slots, T, C]; a cell repeats its last pixel where it has fewer."""
        pixels = np.minimum(self.starts[None, :-1] + np.arange(self.most)[:, None], self.starts[None, 1:] - 1)
        return np.ascontiguousarray(values[pixels].transpose(0, 2, 1))

    def coloured(self, axis: Axis) -> tuple[IntArray, IntArray]:
        """The cells by colour, and where each colour begins and the last ends."""
        colour = self.cells % axis.colours
        begins = np.concatenate(([0], np.cumsum(np.bincount(colour, minlength=axis.colours))))
        return np.argsort(colour, kind="stable").astype(np.int64), begins.astype(np.int64)


def _most(lengths: IntArray, gains: IntArray, limit: int) -> int:
    """Take pieces by slope, steepest first, until the budget is spent; of the last one a part, rounded down.

    A part rounded down at the end is the whole sum rounded down, as all else is integers.
    """
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

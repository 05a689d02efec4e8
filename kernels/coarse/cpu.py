"""The bound over cells on the CPU: a cell is opened when a budget may reach it, and stays open.

A closed cell's margins are at least its floor. Opening more cells can only lower the price of a flip at which a
budget runs out, so the price among the cells that are open decides which others may give up anything; once these are
open the answer is that of all cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from robspec import arrays
from robspec.kernels._threads import share
from robspec.kernels.coarse import CoarseBatch
from robspec.kernels.coarse._slopes import Table, enclosed, flips_at
from robspec.kernels.coarse.layout import Layout, layout_of
from robspec.kernels.coarse.shares import CpuShared, Reached
from robspec.kernels.knapsack import BoolArray, FloatArray, IntArray, Items
from robspec.kernels.knapsack._views import NO_LABEL
from robspec.kernels.knapsack.budget import Budget, costs
from robspec.kernels.knapsack.cpu import CpuPrepared


class CpuCoarse:
    """The images of a batch, cell by cell."""

    backend = "cpu"

    def __init__(self, batch: CoarseBatch) -> None:
        b, k, _, _ = batch.logits.shape
        height, width = batch.grid.shape
        self.pixels, self.single, self.grid = height * width, k == 1, batch.grid
        wide = arrays.doubles(batch.logits)
        maps, nodes = (np.ascontiguousarray(layout) for layout in (wide, wide.transpose(0, 2, 3, 1)))
        labels = [np.empty((0, 0), np.int64)] * b
        if batch.labels is not None:
            labels = list(np.ascontiguousarray(arrays.host(batch.labels)))
        ignore = NO_LABEL if batch.ignore is None else batch.ignore
        given = (layout_of(batch.grid), ignore, batch.items is Items.PREDICTED)
        self._images = [_Image(*image, *given) for image in zip(maps, nodes, labels, strict=True)]
        self.items: IntArray = np.array([image.items for image in self._images], dtype=np.int64)
        self.predicted: BoolArray = np.array([image.predicted for image in self._images])

    @property
    def full(self) -> _Full:
        """See `CoarsePrepared.full`."""
        return _Full(self._images)

    def flips(self, budgets: Sequence[Budget]) -> IntArray:
        """See `CoarsePrepared.flips`."""
        out = [[image.flips(budget) for budget in budgets] for image in self._images]
        return np.array(out, dtype=np.int64).reshape(len(self._images), len(budgets))

    def flips_of(self, image: int, budget: Budget) -> int:
        """See `CoarsePrepared.flips_of`."""
        return self._images[image].flips(budget)

    def reached(self, image: int, budget: Budget) -> Reached:
        """See `CoarsePrepared.reached`."""
        return self._images[image].reached(budget)

    def shared(self, reached: Reached, parts: IntArray, top: Budget) -> CpuShared:
        """See `CoarsePrepared.shared`."""
        return CpuShared(reached, self.grid, parts, top)


class _Image:
    """One image: floors of the cells that are closed, keys and margins of those that are open.

    Args:
        maps: float64 [K, h, w].
        nodes: float64 [h, w, K], the same.
        labels: int64 [H, W], or [0, 0] for none.
        layout: of the grid.
        ignore: the label left out.
        every: whether every pixel not ignored is an item.
    """

    def __init__(
        self, maps: FloatArray, nodes: FloatArray, labels: IntArray, layout: Layout, ignore: int, every: bool
    ) -> None:
        from robspec.kernels.coarse import _open
        from robspec.kernels.knapsack import _margins

        grid = layout.grid
        self._nodes, self._labels, self._layout, self._ignore, self._every = nodes, labels, layout, ignore, every
        self._slack = grid.slack(float(max(maps.max(), -maps.min())))
        self.pixels, self.single = math.prod(grid.shape), len(maps) == 1
        shape = len(layout.rows.first), len(layout.columns.first)
        floors, decided = np.zeros(shape), np.full(shape, -1)
        if grid.convex:
            gaps, classes = np.empty(maps[0].size), np.empty(maps[0].size, np.int32)
            share(_open.look, -(-gaps.size // _margins.CHUNK), maps[None], gaps, classes)
            sides, firsts = maps[0].shape, (layout.rows.first, layout.columns.first)
            spans = np.array([grid.rows.span, grid.columns.span])
            _open.survey(gaps.reshape(sides), classes.reshape(sides), *firsts, spans, self._slack, floors, decided)
        self._floors: FloatArray = floors.reshape(-1)
        self._closed: BoolArray = decided.reshape(-1) >= 0
        self.predicted: BoolArray = np.zeros(max(len(maps), 2), np.bool_)
        self.predicted[decided[decided >= 0]] = True
        starts = layout.rows.starts, layout.columns.starts
        if labels.size:
            counts = np.empty((shape[0], 2), np.int64)
            share(_open.count, shape[0], labels, decided, *starts, ignore, every, counts)
            self.items, self.valid = (int(n) for n in counts.sum(axis=0))
        else:
            sizes = np.multiply.outer(*(np.diff(line) for line in starts))
            self.items, self.valid = int(sizes[decided >= 0].sum()), self.pixels
        self._tables: list[Table] = []
        self._margins: FloatArray = np.empty((len(self._floors), layout.size))
        self._cells: IntArray = np.empty(len(self._floors), np.int64)
        self._number = 0
        self._histogram: IntArray = np.zeros(_margins.BUCKETS, np.int64)
        self._prepared: CpuPrepared | None = None
        self.items += self._open(np.flatnonzero(~self._closed))

    def _open(self, cells: IntArray) -> int:
        """Interpolate cells, in ascending order; returns how many items they hold."""
        from robspec.kernels.coarse import _open
        from robspec.kernels.knapsack import _margins

        layout, tasks = self._layout, 4 * arrays.threads()
        colours, slots = layout.grid.colours, layout.size
        of = layout.colour[cells]
        number = np.bincount(of, minlength=colours)
        lanes = max(1, min(_open.LANES, int(number.max())))
        blocks = -(-number // lanes)
        begins: IntArray = np.concatenate(([0], np.cumsum(blocks))).astype(np.int64)
        # Cells of one colour stand together, in blocks of their own.
        shift = begins[:-1] * lanes - (np.cumsum(number) - number)
        order, total = np.argsort(of, kind="stable"), int(begins[-1])
        places = np.full(total * lanes, -1)
        places[np.arange(len(cells)) + shift[of[order]]] = order
        asked = self._labels_of(cells)
        margins = self._margins[self._number : self._number + len(cells)]
        keys = np.empty((total, slots, lanes))
        histogram, items = np.empty((tasks, _margins.BUCKETS), np.int32), np.empty(tasks, np.int64)
        met = np.empty((tasks, len(self.predicted)), np.bool_)
        share(
            _open.unfold,
            tasks,
            self._nodes,
            cells,
            places,
            layout.rows.first,
            layout.down,
            layout.inverse_down,
            layout.columns.first,
            layout.along,
            layout.inverse_along,
            layout.grid.convex,
            asked,
            self._every,
            self._slack,
            margins,
            keys,
            histogram,
            items,
            met,
        )
        self._closed[cells] = False
        self._cells[self._number : self._number + len(cells)] = cells
        self._tables.append(Table(keys, np.repeat(np.arange(colours), blocks)))
        self._number += len(cells)
        self._histogram = self._histogram + histogram.sum(axis=0, dtype=np.int64)
        self.predicted |= np.logical_or.reduce(met, axis=0)
        self._prepared = None
        return int(items.sum())

    def _labels_of(self, cells: IntArray) -> npt.NDArray[np.int32]:
        """Copy the labels of some cells' pixels; every pixel is asked for where there are no labels."""
        from robspec.kernels.coarse import _open

        rows, columns = self._layout.rows, self._layout.columns
        asked = np.full((len(cells), self._layout.size), _open.LEFT_OUT, np.int32)
        if self._labels.size:
            begins = np.searchsorted(cells, np.arange(len(rows.first) + 1) * len(columns.first))
            where = (begins, rows.starts, columns.starts, columns.most)
            given = (self._labels, self._ignore, len(self.predicted), cells, *where, asked)
            share(_open.collect, len(rows.first), *given)
        else:
            r, c = np.divmod(cells, len(columns.first))
            asked[(rows.there[r][:, :, None] & columns.there[c][:, None, :]).reshape(asked.shape)] = 0
        return asked

    @staticmethod
    def _lowest(units: IntArray, candidates: IntArray, left: int) -> IntArray:
        """Choose the cells of the lowest floors: as many as may use up a budget, and one more."""
        order = candidates[np.argsort(units[candidates])]
        return order[: int(np.searchsorted(np.cumsum(units[order]), left, side="right")) + 1]

    def flips(self, budget: Budget) -> int:
        """Bound how many pixels a budget flips, by cells."""
        if not budget.exponent:
            return sum(int(np.count_nonzero(table.keys == 0)) for table in self._tables)
        units = costs(self._floors, budget)
        colours, size = self._layout.grid.colours, self._layout.size
        of, prices = self._layout.colour, None
        while True:
            prices = enclosed(self._tables, colours, budget, prices)
            short = prices.short[of]
            # A closed cell gives up nothing at a price at which all its pixels are not worth its floor.
            may = self._closed & (units <= budget.limit) & (~short | (units <= size * prices.high[of]))
            if not may.any():
                return flips_at(self._tables, budget, prices)
            chosen = [np.flatnonzero(may & short)]
            for colour in np.flatnonzero(~prices.short).tolist():
                some = np.flatnonzero(may & (of == colour))
                chosen.append(self._lowest(units, some, int(prices.left[colour])))
            self._open(np.sort(np.concatenate(chosen)))

    def reached(self, budget: Budget) -> Reached:
        """List what a budget may pay for; every cell that it may reach is open then."""
        from robspec.kernels.coarse import _reach

        self._open(np.flatnonzero(self._closed & (costs(self._floors, budget) <= budget.limit)))
        cells, layout = self._cells[: self._number], self._layout
        order = np.argsort(cells)
        counts, size = np.empty(len(cells), np.int64), len(cells) * layout.size
        found, slots = np.empty(size), np.empty(size, np.int64)
        given = (layout.inverse_down, layout.inverse_along, budget.scale, budget.limit)
        number = int(_reach.reach(self._margins, cells, order, *given, counts, found, slots))
        there = np.flatnonzero(counts)
        named = cells[order[there]]
        r, c = np.divmod(named, len(layout.columns.first))
        down, along = np.divmod(slots[:number], layout.columns.most)
        sizes = counts[there]
        return Reached(
            found[:number],
            np.repeat(layout.rows.starts[r], sizes) + down,
            np.repeat(layout.columns.starts[c], sizes) + along,
            np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
            layout.rows.first[r],
            layout.columns.first[c],
        )

    def prepared(self) -> CpuPrepared:
        """The margins of all open cells."""
        if self._prepared is None:
            # A copy: they are put in another order there, and here each stands for its pixel.
            margins = self._margins[: self._number].reshape(1, -1).copy()
            histogram = self._histogram.astype(np.int32)[None, None]
            items = np.array([int(self._histogram.sum())])
            given = (histogram, items, np.array([self.valid]), margins.size)
            self._prepared = CpuPrepared.of_margins(margins, *given, pixels=self.pixels, single=self.single)
        return self._prepared

    def full_flips(self, budget: Budget) -> int:
        """Count how many pixels a budget flips, whichever cell they are in."""
        from robspec.kernels.knapsack._histogram import edges, window

        while True:
            if not budget.exponent:
                may = self._closed & (self._floors <= budget.scale)
                chosen = np.flatnonzero(may)
            else:
                least = costs(edges()[:-1], budget)
                spent = int((self._histogram * least).sum())
                top = edges()[window(self._histogram, budget)[1] + 1] if spent > budget.limit else math.inf
                units = costs(self._floors, budget)
                # The first item that is not paid for lies below the top.
                may = self._closed & (self._floors < top) & (units <= budget.limit)
                chosen = np.flatnonzero(may)
                if len(chosen) and spent <= budget.limit:
                    chosen = np.sort(self._lowest(units * self._layout.size, chosen, budget.limit - spent))
            if not len(chosen):
                return int(self.prepared().flips([budget])[0, 0])
            self._open(chosen)

    def full_radius(self, wanted: int, constant: Fraction, norm: Fraction | None) -> float:
        """How large a ball certifies fewer than a number of flips, whichever cell they are in."""
        from robspec.kernels.knapsack._histogram import edges

        if wanted <= 0:
            return 0.0
        if wanted > self.items:
            return math.inf
        while True:
            ranks = np.cumsum(self._histogram)
            top = math.inf
            if ranks[-1] >= wanted:
                top = float(edges()[int(np.searchsorted(ranks, wanted)) + 1])
            chosen = np.flatnonzero(self._closed & (self._floors < top))
            if not len(chosen):
                return float(self.prepared().radii(np.array([[wanted]]), constant, norm)[0, 0])
            if top == math.inf:
                share = -(-(wanted - int(ranks[-1])) // self._layout.size)
                chosen = np.sort(chosen[np.argsort(self._floors[chosen])][: share + share // 4 + 1])
            self._open(chosen)


class _Full:
    """The margins of a batch without a look at cells."""

    backend = "cpu"

    def __init__(self, images: Sequence[_Image]) -> None:
        self._images = images
        self.pixels, self.single = images[0].pixels, images[0].single
        self.items: IntArray = np.array([image.items for image in images], dtype=np.int64)
        self.valid: IntArray = np.array([image.valid for image in images], dtype=np.int64)
        self.finite: BoolArray = np.ones(len(images), np.bool_)

    def flips(self, budgets: Sequence[Budget]) -> IntArray:
        """See `Prepared.flips`."""
        out = [[image.full_flips(budget) for budget in budgets] for image in self._images]
        return np.array(out, dtype=np.int64).reshape(len(self._images), len(budgets))

    def radii(self, flips: IntArray, constant: Fraction, norm: Fraction | None) -> FloatArray:
        """See `Prepared.radii`."""
        pairs = zip(self._images, flips.tolist(), strict=True)
        out = [[image.full_radius(wanted, constant, norm) for wanted in row] for image, row in pairs]
        return np.array(out, dtype=np.float64).reshape(flips.shape)

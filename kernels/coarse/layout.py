"""A grid as the arrays that compiled code reads: cells that hold pixels, and what each of their pixels is made of."""

from __future__ import annotations

import numpy as np

from robspec.kernels.coarse.grid import Axis, Grid
from robspec.kernels.knapsack import BoolArray, FloatArray, IntArray


class Lines:
    """One dimension.

    Args:
        axis: of the grid.

    Attributes:
        starts: int64 [C + 1], the first pixel of each cell, and how many pixels there are.
        first: int64 [C], the first node of each cell.
        most: how many pixels the largest cell has.
        there: bool [C, most], in which of its slots a cell has a pixel.
    """

    def __init__(self, axis: Axis) -> None:
        names = np.array(axis.cells, dtype=np.int64)
        if np.any(np.diff(names) < 0):
            raise ValueError("cells must ascend")
        changes = np.flatnonzero(np.diff(names)) + 1
        self.starts: IntArray = np.concatenate(([0], changes, [len(names)])).astype(np.int64)
        self.first: IntArray = names[self.starts[:-1]]
        self.most = int(np.diff(self.starts).max())
        slots = self.starts[:-1, None] + np.arange(self.most)
        self.there: BoolArray = slots < self.starts[1:, None]
        self._slots = np.minimum(slots, self.starts[1:, None] - 1)

    def by_cell(self, values: FloatArray) -> FloatArray:
        """Lay out numbers of the pixels, [W, ...], as [C, most, ...]; the last pixel of a cell is repeated."""
        found: FloatArray = values[self._slots]
        return found


class Layout:
    """A grid.

    Args:
        grid: how pixels are made of nodes.

    Attributes:
        rows: along the height; its cells are bands.
        columns: along the width.
        size: pixels of the largest cell, in slots: the same number for every cell, some without a pixel.
        down: float64 [bands, S, size], weights along the height of each slot.
        along: float64 [cells of a band, T, size], along the width.
        inverse_down: float64 [bands, size], 1 / (sum of squared weights).
        inverse_along: float64 [cells of a band, size].
        colour: int64 [bands * cells of a band].
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        rows, columns = self.rows, self.columns = Lines(grid.rows), Lines(grid.columns)
        self.size = rows.most * columns.most
        down, along = (line.by_cell(np.array(axis.weights)) for line, axis in self._lines())
        inverse = [line.by_cell(np.array(axis.inverse)[:, None]) for line, axis in self._lines()]
        wide, tall = columns.most, rows.most
        self.down, self.along = _repeated(down, wide), _tiled(along, tall)
        self.inverse_down, self.inverse_along = _repeated(inverse[0], wide)[:, 0], _tiled(inverse[1], tall)[:, 0]
        names = (line.first % axis.colours for line, axis in self._lines())
        across = grid.columns.colours
        self.colour: IntArray = (next(names)[:, None] * across + next(names)[None, :]).reshape(-1).astype(np.int64)

    def _lines(self) -> tuple[tuple[Lines, Axis], ...]:
        return (self.rows, self.grid.rows), (self.columns, self.grid.columns)


def _repeated(weights: FloatArray, wide: int) -> FloatArray:
    """[C, slots of a column, T] as [C, T, size]: every pixel of a row has the same."""
    return np.ascontiguousarray(np.repeat(weights, wide, axis=1).transpose(0, 2, 1))


def _tiled(weights: FloatArray, tall: int) -> FloatArray:
    """[C, slots of a row, T] as [C, T, size]: every pixel of a column has the same."""
    return np.ascontiguousarray(np.tile(weights, (1, tall, 1)).transpose(0, 2, 1))


_last: list[Layout] = []


def layout_of(grid: Grid) -> Layout:
    """Lay a grid out; that of the last one is kept, as the batches of a check share it."""
    if not _last or _last[0].grid is not grid:
        _last[:] = [Layout(grid)]
    return _last[0]

"""Cells in tiles for a GPU: those of one colour and about one size side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robspec.kernels.coarse.grid import Grid
from robspec.kernels.coarse.layout import Lines
from robspec.kernels.knapsack import IntArray

Small = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Tiles:
    """Cells whose sides have the same next power of two: those at a border are larger, and have tiles of their own.

    Args:
        tall: rows of a cell, rounded up to a power of two.
        broad: columns, as well.
        tile: cells of a tile.
        bands: int32 [tiles * tile], which band each is in, -1 for none.
        columns: int32 [tiles * tile], which cell of the band it is.
        colours: int32 [tiles], of each tile, which has cells of one colour.
    """

    tall: int
    broad: int
    tile: int
    bands: Small
    columns: Small
    colours: Small

    @property
    def slots(self) -> int:
        """How many pixels a cell has room for."""
        return self.tall * self.broad


def most_slots(grid: Grid) -> int:
    """How many pixels the largest cell has room for."""
    return int(np.prod([_powers(Lines(axis)).max() for axis in (grid.rows, grid.columns)]))


def tiles_of(grid: Grid, block: int) -> Iterator[Tiles]:
    """Gather the cells of a grid.

    Args:
        grid: how pixels are made of nodes.
        block: pixels of a tile, a power of two, unless a cell has more.
    """
    rows, columns = Lines(grid.rows), Lines(grid.columns)
    tall, broad = _powers(rows), _powers(columns)
    for high in np.unique(tall).tolist():
        for wide in np.unique(broad).tolist():
            own, others = np.flatnonzero(tall == high), np.flatnonzero(broad == wide)
            bands, names = np.repeat(own, len(others)), np.tile(others, len(own))
            across = grid.columns.colours
            colour = rows.first[bands] % grid.rows.colours * across + columns.first[names] % across
            number = np.bincount(colour, minlength=grid.colours)
            tile = min(max(1, block // (high * wide)), 1 << (int(number.max()) - 1).bit_length())
            tiles = -(-number // tile)
            order = np.argsort(colour, kind="stable")
            # Every colour begins a tile.
            begins = (np.cumsum(tiles) - tiles) * tile - (np.cumsum(number) - number)
            places = np.arange(len(order)) + begins[colour[order]]
            lists = np.full((2, int(tiles.sum()) * tile), -1, np.int32)
            lists[:, places] = bands[order], names[order]
            of_tiles = np.repeat(np.arange(grid.colours, dtype=np.int32), tiles)
            yield Tiles(high, wide, tile, lists[0], lists[1], of_tiles)


def _powers(lines: Lines) -> IntArray:
    """Sizes of cells, each rounded up to a power of two."""
    sizes = np.diff(lines.starts).tolist()
    return np.array([1 << (size - 1).bit_length() for size in sizes], dtype=np.int64)

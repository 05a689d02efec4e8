"""Compiled loops over cells: keys in order of cell and size, and the corners of every cell's envelope."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from robspec.kernels._jit import compiled


@compiled(parallel=True)
def gather(
    margins: Any, ends: Any, inverse_row: Any, inverse_column: Any, row_starts: Any, column_starts: Any, keys: Any
) -> None:
    """Write the keys of one image's items, cell after cell, each cell's ascending.

    Args:
        margins: float64 [H, W], NaN where a pixel is no item.
        ends: int64 [cells], overwritten: how many items each cell holds.
        inverse_row: float64 [H].
        inverse_column: float64 [W].
        row_starts: int64 [R + 1], the first row of each row of cells, and H.
        column_starts: int64 [C + 1], the same of columns.
        keys: float64 [H * W], overwritten: cell (r, c) begins at row_starts[r] * W + (its rows) * column_starts[c].
    """
    width = margins.shape[1]
    across = column_starts.size - 1
    for r in prange(row_starts.size - 1):
        top, bottom = row_starts[r], row_starts[r + 1]
        for c in range(across):
            left, right = column_starts[c], column_starts[c + 1]
            begin = top * width + (bottom - top) * left
            n = 0
            for y in range(top, bottom):
                for x in range(left, right):
                    d = margins[y, x]
                    if d >= 0:
                        keys[begin + n] = d * d * inverse_row[y] * inverse_column[x]
                        n += 1
            keys[begin : begin + n].sort()
            ends[r * across + c] = n


@compiled(parallel=True)
def corners(
    keys: Any,
    ends: Any,
    row_starts: Any,
    column_starts: Any,
    width: int,
    scale: float,
    limit: int,
    lengths: Any,
    gains: Any,
    found: Any,
    free: Any,
) -> None:
    """Find the pieces of every cell's upper concave envelope; where a cell's keys lie, its pieces go.

    Products stay below 2^62: flips times grid units are at most pixels times the limit.

    Args:
        keys: as `gather` wrote them.
        ends: items of each cell.
        row_starts: as there.
        column_starts: as there.
        width: W.
        scale: grid units per unit of a key.
        limit: the budget in grid units.
        lengths: int64 [H * W], overwritten: what each piece costs.
        gains: int64 [H * W], overwritten: what it flips.
        found: int64 [cells], overwritten: pieces of each cell.
        free: int64 [cells], overwritten: items that cost nothing.
    """
    across = column_starts.size - 1
    over = np.float64(limit + 1)
    for r in prange(row_starts.size - 1):
        top, bottom = row_starts[r], row_starts[r + 1]
        for c in range(across):
            cell = r * across + c
            begin = top * width + (bottom - top) * column_starts[c]
            n = ends[cell]
            nothing = np.int64(0)
            pieces = 0
            i = 0
            while i < n:
                units = keys[begin + i] * scale
                if not units < over:
                    break
                price = np.int64(units)
                j = i + 1
                while j < n:
                    following = keys[begin + j] * scale
                    if not following < over or np.int64(following) != price:
                        break
                    j += 1
                gain = np.int64(j - i)
                if price == 0:
                    nothing = gain
                else:
                    length = price
                    for p in range(pieces):
                        length -= lengths[begin + p]
                    while pieces > 0:
                        last = begin + pieces - 1
                        # The piece before stays where its slope is larger.
                        if gains[last] * length > gain * lengths[last]:
                            break
                        length += lengths[last]
                        gain += gains[last]
                        pieces -= 1
                    lengths[begin + pieces] = length
                    gains[begin + pieces] = gain
                    pieces += 1
                i = j
            found[cell] = pieces
            free[cell] = nothing


@compiled(parallel=True)
def collect(
    row_starts: Any,
    column_starts: Any,
    width: int,
    found: Any,
    places: Any,
    lengths: Any,
    gains: Any,
    all_lengths: Any,
    all_gains: Any,
) -> None:
    """Copy the pieces of all cells to where `places` says each cell's begin."""
    across = column_starts.size - 1
    for r in prange(row_starts.size - 1):
        top, bottom = row_starts[r], row_starts[r + 1]
        for c in range(across):
            cell = r * across + c
            begin = top * width + (bottom - top) * column_starts[c]
            for p in range(found[cell]):
                all_lengths[places[cell] + p] = lengths[begin + p]
                all_gains[places[cell] + p] = gains[begin + p]

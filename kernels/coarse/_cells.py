"""Compiled loops over cells: the pieces of every cell's envelope, and how far a budget reaches among their slopes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from robspec.kernels._jit import compiled

BUCKETS = 1 << 12
"""Of slopes: 32 for each power of two."""
_SHIFT = 47
_BASE = (1023 - 48) << 5
"""Units per flip lie between 2^-40, as there are fewer pixels, and 2^41."""


@compiled(parallel=True)
def corners(
    keys: Any,
    order: Any,
    begins: Any,
    scale: float,
    limit: int,
    lengths: Any,
    gains: Any,
    ends: Any,
    free: Any,
) -> None:
    """Find the pieces of every cell's upper concave envelope, those of a band's cells of one colour together.

    Products stay below 2^62: flips times grid units are at most pixels times the limit.

    Args:
        keys: float64 [R, N, C], each cell's ascending, infinite beyond its items.
        order: int64 [C], the columns of cells, colour after colour.
        begins: int64 [colours + 1], where in `order` each colour begins.
        scale: grid units per unit of a key.
        limit: the budget in grid units.
        lengths: int64 [R, N * C], overwritten from the left: what each piece costs.
        gains: int64 [R, N * C], overwritten: what it flips.
        ends: int64 [R, colours + 1], overwritten: where the pieces of each colour begin, and the last end.
        free: int64 [R], overwritten: items that cost nothing.
    """
    over = np.float64(limit + 1)
    slots = keys.shape[1]
    for r in prange(keys.shape[0]):
        nothing = np.int64(0)
        end = np.int64(0)
        ends[r, 0] = 0
        for colour in range(begins.size - 1):
            for o in range(begins[colour], begins[colour + 1]):
                c = order[o]
                begin = end
                spent = np.int64(0)
                flipped = np.int64(0)
                i = 0
                units = keys[r, 0, c] * scale
                while units < over:
                    price = np.int64(units)
                    j = i + 1
                    units = np.inf
                    while j < slots:
                        units = keys[r, j, c] * scale
                        if not (units < over and np.int64(units) == price):
                            break
                        units = np.inf
                        j += 1
                    if price == 0:
                        nothing += j
                    else:
                        length, gain = price - spent, j - flipped
                        while end > begin:
                            # The piece before stays where its slope is larger.
                            if gains[r, end - 1] * length > gain * lengths[r, end - 1]:
                                break
                            end -= 1
                            length += lengths[r, end]
                            gain += gains[r, end]
                        lengths[r, end] = length
                        gains[r, end] = gain
                        end += 1
                    spent, flipped = price, np.int64(j)
                    i = j
            ends[r, colour + 1] = end
        free[r] = nothing


@compiled(inline="always")
def bucket(length: int, gain: int) -> int:
    """Where a slope belongs: in the order of quotients of doubles, hence of the quotients themselves but for ties."""
    at = (np.float64(np.float64(length) / np.float64(gain)).view(np.int64) >> _SHIFT) - _BASE
    return int(0 if at < 0 else BUCKETS - 1 if at >= BUCKETS else at)


@compiled(parallel=True)
def steepness(
    lengths: Any, gains: Any, ends: Any, bands: Any, begins: Any, all_lengths: Any, all_gains: Any, numbers: Any
) -> None:
    """Add up the pieces of each colour, bucket by bucket.

    Args:
        lengths: as `corners` wrote them.
        gains: as there.
        ends: as there.
        bands: int64 [R], the bands, colour after colour.
        begins: int64 [colours + 1], where in `bands` each colour of bands begins.
        all_lengths: int64 [colours of bands, colours of columns, BUCKETS], zeros, added to.
        all_gains: the same.
        numbers: the same, how many pieces.
    """
    across = ends.shape[1] - 1
    for task in prange((begins.size - 1) * across):
        row = task // across
        colour = task - row * across
        for o in range(begins[row], begins[row + 1]):
            r = bands[o]
            for p in range(ends[r, colour], ends[r, colour + 1]):
                at = bucket(lengths[r, p], gains[r, p])
                all_lengths[row, colour, at] += lengths[r, p]
                all_gains[row, colour, at] += gains[r, p]
                numbers[row, colour, at] += 1


@compiled(parallel=True)
def pick(
    lengths: Any, gains: Any, ends: Any, bands: Any, begins: Any, wanted: Any, places: Any, found: Any
) -> None:
    """Copy the pieces of one bucket for each colour.

    Args:
        lengths: as `corners` wrote them.
        gains: as there.
        ends: as there.
        bands: as in `steepness`.
        begins: as there.
        wanted: int64 [colours of bands, colours of columns], a bucket each, -1 for none.
        places: int64 [colours + 1], where each colour's copies begin, and the last end.
        found: int64 [2, places[-1]], overwritten: lengths, gains.
    """
    across = ends.shape[1] - 1
    for task in prange((begins.size - 1) * across):
        row = task // across
        colour = task - row * across
        n = places[task]
        if n == places[task + 1]:
            continue
        for o in range(begins[row], begins[row + 1]):
            r = bands[o]
            for p in range(ends[r, colour], ends[r, colour + 1]):
                if bucket(lengths[r, p], gains[r, p]) == wanted[row, colour]:
                    found[0, n] = lengths[r, p]
                    found[1, n] = gains[r, p]
                    n += 1

"""Compiled loops over cells: what each gives up at a price for a flip, and the pieces of its envelope between two.

At a price a cell gives up the prefix of its items that is worth most: a corner of its upper concave envelope. Between
two prices that enclose the one at which the budget runs out, few cells change what they give up, and only their
envelopes are needed, only there. These passes are short and many: other threads are not worth waking. Sums stay below
2^62: flips times grid units are at most pixels times the limit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from robspec.kernels._jit import compiled


@compiled()
def choose(table: Any, scale: float, limit: int, price: int, worth: Any, spent: Any, given: Any) -> None:
    """Find what each cell of a block gives up, the least of what is worth most.

    Args:
        table: float64 [N, lanes], keys, each cell's ascending, infinite beyond its items.
        scale: grid units per unit of a key.
        limit: the budget in grid units.
        price: grid units that a flip is worth, at most limit + 1.
        worth: int64 [lanes], overwritten.
        spent: int64 [lanes], overwritten: grid units.
        given: int64 [lanes], overwritten: items.
    """
    over = np.float64(limit + 1)
    for lane in range(worth.size):
        worth[lane] = 0
        spent[lane] = 0
        given[lane] = 0
    for j in range(table.shape[0]):
        row = table[j]
        gained = np.int64(j + 1) * price
        number = np.int64(j + 1)
        within = np.int64(0)
        for lane in range(worth.size):
            units = row[lane] * scale
            cost = np.int64(units if units < over else over)
            value = gained - cost
            better = (cost == 0) | ((value > worth[lane]) & (cost <= limit))
            worth[lane] = value if better else worth[lane]
            spent[lane] = cost if better else spent[lane]
            given[lane] = number if better else given[lane]
            within |= np.int64(cost <= limit)
        # Keys ascend: no cell of the block has another item within reach.
        if within == 0:
            break


@compiled()
def at_prices(keys: Any, scale: float, limit: int, prices: Any, spent: Any, given: Any) -> None:
    """Add up what the cells of each block give up.

    Args:
        keys: float64 [blocks, N, lanes], as `choose` takes them.
        scale: as there.
        limit: as there.
        prices: int64 [blocks].
        spent: int64 [blocks], overwritten.
        given: int64 [blocks], overwritten.
    """
    lanes = keys.shape[2]
    for block in range(keys.shape[0]):
        worth, cost, number = np.empty(lanes, np.int64), np.empty(lanes, np.int64), np.empty(lanes, np.int64)
        choose(keys[block], scale, limit, prices[block], worth, cost, number)
        spent[block] = cost.sum()
        given[block] = number.sum()


@compiled()
def corners(keys: Any, scale: float, limit: int, prices: Any, spent: Any, given: Any) -> None:
    """Say what each cell gives up.

    Args:
        keys: float64 [blocks, N, lanes], as `choose` takes them.
        scale: as there.
        limit: as there.
        prices: int64 [blocks].
        spent: int64 [blocks, lanes], overwritten.
        given: int64 [blocks, lanes], overwritten.
    """
    for block in range(keys.shape[0]):
        worth = np.empty(keys.shape[2], np.int64)
        choose(keys[block], scale, limit, prices[block], worth, spent[block], given[block])


@compiled()
def between(
    keys: Any, scale: float, cells: Any, spent: Any, first: Any, last: Any, lengths: Any, gains: Any, ends: Any
) -> None:
    """Find the pieces of the envelopes of some cells between two of their corners.

    Args:
        keys: float64 [blocks, N, lanes], as `choose` takes them.
        scale: as there.
        cells: int64 [n], block and lane as one number.
        spent: int64 [n], what the first corner of each costs.
        first: int64 [n], how many items it gives up.
        last: int64 [n], how many the last corner gives up.
        lengths: int64 [...], overwritten from the left: what each piece costs.
        gains: int64 [...], overwritten: what it flips.
        ends: int64 [n], overwritten: how many pieces there are up to each cell's last.
    """
    end = np.int64(0)
    for i in range(cells.size):
        block, lane = cells[i] // keys.shape[2], cells[i] % keys.shape[2]
        begin, cost, flipped = end, spent[i], first[i]
        for j in range(first[i], last[i]):
            units = np.int64(keys[block, j, lane] * scale)
            if j + 1 < last[i] and np.int64(keys[block, j + 1, lane] * scale) == units:
                continue
            length, gain = units - cost, np.int64(j + 1) - flipped
            while end > begin:
                # The piece before stays where its slope is larger.
                if gains[end - 1] * length > gain * lengths[end - 1]:
                    break
                end -= 1
                length += lengths[end]
                gain += gains[end]
            lengths[end] = length
            gains[end] = gain
            end += 1
            cost, flipped = units, np.int64(j + 1)
        ends[i] = end

"""Cells that share the energy of their nodes by parts: one budget for all of them instead of one for each colour.

Let rho_sc be the part that cell s has of node c, with sum over s of rho_sc <= 1. Then the sum over s and c of
rho_sc A_c^2 is at most B, and bringing another class level at a pixel of cell s takes sum over c of rho_sc A_c^2 >=
d^2 / (2 sum of u_c^2 / rho_sc), by Cauchy-Schwarz. So all cells together are a knapsack with the budget B, in which a
cell costs its dearest item. A budget for each colour is no better than parts that are the same for all cells of a
colour; the best parts give a node to the cell where its energy is worth most, and nothing where no budget reaches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from robspec.kernels.coarse.grid import Axis, Grid
from robspec.kernels.knapsack import FloatArray, IntArray
from robspec.kernels.knapsack.budget import Budget

PARTS = 2**10
"""Parts are whole multiples of 1 / PARTS."""
MOST_NODES = 64
"""Nodes of a cell: what an item's price rounds is within what a budget's scale leaves for it."""
_ROUNDS = 12


@dataclass(frozen=True, slots=True)
class Reached:
    """Items of one image that a budget may pay for, cell by cell and in reading order in each.

    Args:
        margins: float64 [n], not above the exact ones.
        rows: int64 [n], where each is.
        columns: int64 [n].
        starts: int64 [C + 1], where each cell's items begin.
        tops: int64 [C], the first node of each cell, along the height.
        lefts: int64 [C], along the width.
    """

    margins: FloatArray
    rows: IntArray
    columns: IntArray
    starts: IntArray
    tops: IntArray
    lefts: IntArray


class Shared(Protocol):
    """Items of one image at parts that do not change."""

    def flips(self, budget: Budget) -> int:
        """Bound how many pixels a budget flips.

        Args:
            budget: no larger than that which the items were looked for with.

        Returns:
            An upper bound, the same integer on every backend for the same parts, monotone in the budget.
        """
        ...


class Shareable(Protocol):
    """A batch that has been read cell by cell; see `CoarsePrepared`."""

    grid: Grid

    def reached(self, image: int, budget: Budget) -> Reached:
        """See `CoarsePrepared.reached`."""
        ...

    def shared(self, reached: Reached, parts: IntArray, top: Budget) -> Shared:
        """See `CoarsePrepared.shared`."""
        ...


def share_out(cells: Shareable, image: int, budget: Budget) -> Shared:
    """Share nodes between the cells within reach of a budget, so that it buys few flips.

    Args:
        cells: the batch, whose grid `is_shared`.
        image: which one.
        budget: the largest that will be asked, with exponent 2.
    """
    return cells.shared(*given_out(cells, image, budget), budget)


def given_out(cells: Shareable, image: int, budget: Budget) -> tuple[Reached, IntArray]:
    """List what a budget may pay for, and say what cells have of their nodes; see `share_out` and `divided`."""
    reached = cells.reached(image, budget)
    return reached, divided(reached, cells.grid, np.ones(len(reached.margins)), budget)


def reached_of(margins: FloatArray, grid: Grid, budget: Budget) -> Reached:
    """List the items that a budget may pay for.

    Args:
        margins: float64 [H * W], NaN where a pixel is no item.
        grid: what pixels are made of.
        budget: with exponent 2.
    """
    down, along = (np.array(axis.inverse) for axis in (grid.rows, grid.columns))
    table = margins.reshape(grid.shape)
    with np.errstate(over="ignore"):
        near = np.flatnonzero(table * table * down[:, None] * along * budget.scale < budget.limit + 1)
    y, x = np.divmod(near, grid.shape[1])
    tops, lefts = np.array(grid.rows.cells)[y], np.array(grid.columns.cells)[x]
    order = np.lexsort((near, lefts, tops))
    y, x, tops, lefts = y[order], x[order], tops[order], lefts[order]
    begins = np.flatnonzero((np.diff(tops, prepend=-1) != 0) | (np.diff(lefts, prepend=-1) != 0))
    starts = np.append(begins, len(y)).astype(np.int64)
    return Reached(margins[near[order]], y, x, starts, tops[begins], lefts[begins])


def nodes_of(reached: Reached, grid: Grid) -> IntArray:
    """Name the nodes of each cell, int64 [C, S * T], those along the width first."""
    down, along = np.arange(grid.rows.span), np.arange(grid.columns.span)
    rows = reached.tops[:, None, None] + down[None, :, None]
    columns = reached.lefts[:, None, None] + along[None, None, :]
    found: IntArray = (rows * grid.columns.nodes + columns).reshape(len(reached.tops), len(down) * len(along))
    return found


def squares(reached: Reached, grid: Grid) -> tuple[FloatArray, FloatArray]:
    """Square the weights of each item along the height, [n, S], and the width, [n, T], in double."""
    down, along = (np.array(axis.weights)[at] for axis, at in _lines(reached, grid))
    return down * down, along * along


def _lines(reached: Reached, grid: Grid) -> tuple[tuple[Axis, IntArray], ...]:
    return (grid.rows, reached.rows), (grid.columns, reached.columns)


def is_shared(grid: Grid) -> bool:
    """Tell whether cells have nodes in common, few enough of them, with weights whose squares are no tiny numbers."""
    sizes = [value for axis in (grid.rows, grid.columns) for value in axis.inverse]
    return 1 < grid.rows.span * grid.columns.span <= MOST_NODES and max(sizes) <= 2.0**20


def divided(reached: Reached, grid: Grid, worth: FloatArray, budget: Budget) -> IntArray:
    """Look for good parts: compiled code for every backend, as any parts are sound.

    Args:
        reached: the items.
        grid: what they are made of.
        worth: float64 [n], what giving up each item is worth, at least 0.
        budget: what is spent, with exponent 2.

    Returns:
        int64 [C, S * T], at least 1 each, in units of 1 / PARTS; no more than PARTS of any node.
    """
    from robspec.kernels.coarse import _shares

    nodes, (down, along) = nodes_of(reached, grid), squares(reached, grid)
    number = math.prod(grid.sides)
    # A budget without scale is beyond every item, so that no part is better than another.
    spent, rounds = (budget.limit / budget.scale, _ROUNDS) if budget.scale else (1.0, 0)
    given = (reached.margins, down, along, worth, reached.starts, nodes, number, spent, rounds)
    parts = _shares.divide(*given)
    # A node is in as many cells as a cell has nodes: what is rounded up to 1 is no more than what is spared.
    whole: IntArray = np.maximum(np.floor(parts * (PARTS - nodes.shape[1])), 1).astype(np.int64)
    validate(whole, nodes, number)
    return whole


def validate(parts: IntArray, nodes: IntArray, number: int) -> None:
    """Refuse parts that are none: what a bound stands on is asked of every backend.

    Raises:
        ValueError: parts below 1, or a node of which more than all is given away.
    """
    sums = np.zeros(number, np.int64)
    np.add.at(sums, nodes.reshape(-1), parts.reshape(-1))
    if parts.size and (int(parts.min()) < 1 or int(sums.max()) > PARTS):
        raise ValueError("parts of a node must be positive and add up to 1 at most")


class CpuShared:
    """Keys at given parts, sorted cell by cell, compiled.

    Args:
        reached: the items.
        grid: what they are made of.
        parts: as `divided` gives them.
        top: the budget that items were looked for with.
    """

    def __init__(self, reached: Reached, grid: Grid, parts: IntArray, top: Budget) -> None:
        from robspec.kernels.coarse import _shares
        from robspec.kernels.coarse._open import LANES
        from robspec.kernels.coarse._slopes import Table
        from robspec.kernels.coarse._sorting import ascending

        validate(parts, nodes_of(reached, grid), math.prod(grid.sides))
        self._top = top
        down, along = squares(reached, grid)
        keys = np.empty(len(reached.margins))
        _shares.priced(reached.margins, down, along, reached.starts, PARTS / parts, keys)
        sizes = np.diff(reached.starts)
        # Cells of about as many items stand together.
        order = np.argsort(-sizes, kind="stable")
        self._tables = []
        for begin in range(0, len(order), _BLOCKS * LANES):
            some = order[begin : begin + _BLOCKS * LANES]
            blocks, slots = -(-len(some) // LANES), int(sizes[some[0]])
            table = np.full((blocks, slots, LANES), np.inf)
            lane = np.repeat(np.arange(len(some)), sizes[some])
            slot = np.arange(len(lane)) - np.repeat(np.cumsum(sizes[some]) - sizes[some], sizes[some])
            items = np.repeat(reached.starts[some], sizes[some]) + slot
            table[lane // LANES, slot, lane % LANES] = keys[items]
            for block in table:
                ascending(block, slots)
            self._tables.append(Table(table, np.zeros(blocks, np.int64)))

    def flips(self, budget: Budget) -> int:
        """See `Shared.flips`."""
        from robspec.kernels.coarse._slopes import enclosed, flips_at

        within(budget, self._top)
        return flips_at(self._tables, budget, enclosed(self._tables, 1, budget))


_BLOCKS = 8
"""Blocks of lanes of one table."""


def within(budget: Budget, top: Budget) -> None:
    """Refuse a budget that may reach items that were not looked for.

    Raises:
        ValueError: it is larger than that which they were looked for with.
    """
    if budget.exponent != 2 or budget.scale < top.scale or budget.limit != top.limit:
        raise ValueError("items were looked for with a smaller budget")

"""How far a budget reaches among the pieces of all cells' envelopes, steepest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from robspec.kernels.knapsack import BoolArray, FloatArray, IntArray
from robspec.kernels.knapsack.budget import Budget

_APART = 2**11
"""Slopes of pieces that flip fewer pixels are equal as doubles only where they are equal."""


class Table:
    """Keys of open cells, and the colour of each block of them.

    Args:
        keys: float64 [blocks, N, lanes].
        colours: int64 [blocks], ascending.
    """

    def __init__(self, keys: FloatArray, colours: IntArray) -> None:
        self.keys, self.colours = keys, colours
        changes = np.flatnonzero(np.diff(colours, prepend=-1))
        self._starts, self._names = changes, colours[changes]

    def given_up(self, budget: Budget, prices: IntArray, spent: IntArray, given: IntArray) -> None:
        """Add what the cells of each colour give up at a price of its own: grid units, and flips."""
        from robspec.kernels.coarse import _cells

        if len(self.keys):
            sums = np.empty((2, len(self.keys)), np.int64)
            _cells.at_prices(self.keys, budget.scale, budget.limit, prices[self.colours], sums[0], sums[1])
            spent[self._names] += np.add.reduceat(sums[0], self._starts)
            given[self._names] += np.add.reduceat(sums[1], self._starts)

    def pieces(self, budget: Budget, low: IntArray, high: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        """Find the pieces of envelopes between what each cell gives up at two prices.

        Returns:
            Lengths, gains and colours.
        """
        from robspec.kernels.coarse import _cells

        blocks, _, lanes = self.keys.shape
        ends = np.empty((2, 2, blocks, lanes), np.int64)
        for prices, (spent, given) in zip((low, high), ends, strict=True):
            _cells.corners(self.keys, budget.scale, budget.limit, prices[self.colours], spent, given)
        (cost, first), (_, last) = ends.reshape(2, 2, -1)
        cells = np.flatnonzero(first < last)
        found = np.empty((2, int((last[cells] - first[cells]).sum())), np.int64)
        until = np.empty(len(cells), np.int64)
        asked = (cells, cost[cells], first[cells], last[cells])
        _cells.between(self.keys, budget.scale, *asked, found[0], found[1], until)
        number = int(until[-1]) if len(until) else 0
        colours = np.repeat(self.colours[cells // lanes], np.diff(until, prepend=0))
        return found[0, :number], found[1, :number], colours


_ROUGH, _CLOSE = 3, 7
"""Bits of a price: enough to tell which cells to open; so that few cells give up something else at one than at the
other."""


@dataclass(frozen=True, slots=True)
class Prices:
    """What a flip is worth where a budget runs out, enclosed.

    Args:
        short: bool [colours], where the budget does not pay for all that it could pay for by itself.
        low: int64 [colours], grid units per flip at which cells of the colour cost at most the budget.
        high: int64 [colours], at which they cost more, where it is short.
        flips: of the colours where it is not.
        left: int64 [colours], what is left of the budget there.
    """

    short: BoolArray
    low: IntArray
    high: IntArray
    flips: int
    left: IntArray


def enclosed(tables: Sequence[Table], colours: int, budget: Budget, before: Prices | None = None) -> Prices:
    """Enclose the price of a flip in every colour, roughly.

    Args:
        tables: the cells.
        colours: how many there are.
        budget: with exponent 2.
        before: of the same budget and fewer cells, where prices are not lower.
    """
    limit = budget.limit
    # All items that the budget could pay for by themselves are given up at the highest price, free ones alone at 0.
    low, high = np.zeros(colours, np.int64), np.full(colours, limit + 1)
    spent, given = _given_up(tables, budget, high)
    short = spent > limit
    if before is not None:
        lower = before.low // 2
        fits = before.short & (_given_up(tables, budget, lower)[0] <= limit)
        low, high = np.where(fits, lower, low), np.where(before.short, before.high, high)
    if short.any():
        low, high = _closer(tables, budget, short, low, high, _ROUGH)
    return Prices(short, low, high, int(given[~short].sum()), limit - spent)


def flips_at(tables: Sequence[Table], budget: Budget, prices: Prices) -> int:
    """Spend a budget in every colour, whose cells it is known to run out of between two prices."""
    short, limit, flips = prices.short, budget.limit, prices.flips
    if not short.any():
        return flips
    low, high = _closer(tables, budget, short, prices.low, prices.high, _CLOSE)
    spent, given = _given_up(tables, budget, low)
    flips += int(given[short].sum())
    low = np.where(short, low, high)
    parts = zip(*(table.pieces(budget, low, high) for table in tables), strict=True)
    lengths, gains, of = (np.concatenate(part) for part in parts)
    for colour in np.flatnonzero(short).tolist():
        own = of == colour
        flips += spend(lengths[own], gains[own], int(limit - spent[colour]))
    return flips


def _closer(
    tables: Sequence[Table], budget: Budget, short: BoolArray, low: IntArray, high: IntArray, close: int
) -> tuple[IntArray, IntArray]:
    """Bisect prices until they differ by one part in 2^close: cells cost at most the budget at one alone."""
    while (wide := short & (high - low > np.maximum(low >> close, 1))).any():
        middle = np.where(wide, _middle(low, high), low)
        fits = _given_up(tables, budget, middle)[0] <= budget.limit
        low, high = np.where(wide & fits, middle, low), np.where(wide & ~fits, middle, high)
    return low, high


def _middle(low: IntArray, high: IntArray) -> IntArray:
    """Halve the exponents while prices are far apart, then the prices."""
    far = high > 4 * np.maximum(low, 1)
    roots = np.sqrt(np.maximum(low, 1).astype(np.float64) * high.astype(np.float64)).astype(np.int64)
    return np.clip(np.where(far, roots, (low + high) // 2), low + 1, np.maximum(high - 1, low + 1))


def _given_up(tables: Sequence[Table], budget: Budget, prices: IntArray) -> tuple[IntArray, IntArray]:
    """What the cells of each colour give up at a price of its own: grid units, and flips."""
    spent, given = np.zeros_like(prices), np.zeros_like(prices)
    for table in tables:
        table.given_up(budget, prices, spent, given)
    return spent, given


def spend(lengths: IntArray, gains: IntArray, limit: int) -> int:
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

"""What the cells of a fixed up-sampling may give up within a budget, at any price (RESOLUTION.md R1).

Let a flip of each kind be worth something, and energy in each cell cost a price of its own, at least 0. Whatever an
attack does, the energies of the nodes add up to no more than the budget. So what all cells pay adds up to at most the
budget times what the cells of the dearest node cost together, and what is given up is worth at most that and, for
each cell, the most that anything is worth above its price.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from robspec.oracle.scene import BoolArray, IntArray
from robspec.recheck.lattice import Lattice
from robspec.recheck.sight import Sight
from robspec.recheck.whole import ObjectArray, by_parts, nearly, objects


@dataclass(frozen=True, slots=True)
class Asked:
    """What cells are asked.

    Args:
        budget: of energy, at least 0.
        leave: what a pixel that leaves is worth, at least 0.
        enter: what one that enters is worth.
    """

    budget: Fraction
    leave: Fraction = Fraction(1)
    enter: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class Prices:
    """What energy costs, in what is asked for, by the whole budget.

    Args:
        of: a price for each colour, or for each cell.
        alike: whether it is one for each colour.
    """

    of: tuple[Fraction, ...]
    alike: bool = True


class Cells:
    """Items of one image that flip with the energy of their cell, cheapest first.

    Args:
        lattice: of the image.
        keys: int [n], the energy that each takes, at least 0.
        unit: of one, above 0.
        cell: int64 [n], which cell each is in.
        enters: bool [n], which of them enter; the others leave.
    """

    def __init__(
        self, lattice: Lattice, keys: ObjectArray, unit: Fraction, cell: IntArray, enters: BoolArray
    ) -> None:
        self.lattice, self.unit = lattice, unit
        order = _ascending(keys, cell)
        self.keys, self.cell, self.enters = keys[order], cell[order], enters[order]

    @staticmethod
    def of(sight: Sight, gaps: ObjectArray, pixels: IntArray, enters: BoolArray) -> Cells:
        """Price items by how far a class is ahead.

        Args:
            sight: the image.
            gaps: int [n], at least 0, in units of the image.
            pixels: int64 [n].
            enters: bool [n].
        """
        lattice = sight.lattice
        y, x = np.divmod(pixels, lattice.shape[1])
        down, along = lattice.down, lattice.along
        keys = gaps * gaps * down.inverse[y] * along.inverse[x]
        unit = sight.unit**2 * down.inverse_unit * along.inverse_unit / (1 if sight.single else 2)
        return Cells(lattice, keys, unit, lattice.cell[pixels], enters)

    def within(self, budget: Fraction) -> Reach:
        """Keep what one cell could pay for if it had the whole budget."""
        near = self.keys <= math.floor(budget / self.unit)
        return Reach(self, np.flatnonzero(near.astype(np.bool_)))

    def bounds(self, asked: Asked, prices: Prices) -> list[Fraction]:
        """Bound what is given up.

        Args:
            asked: what each flip is worth.
            prices: any; nothing is asked of them where nothing moves.

        Returns:
            For each colour where prices are alike, else for all cells together; they add up.
        """
        return self.within(asked.budget).bounds(asked, prices)


class Reach:
    """The items within a budget.

    Args:
        cells: all of them.
        near: int64 [n], which ones: of each cell the cheapest.
    """

    def __init__(self, cells: Cells, near: IntArray) -> None:
        self.lattice, self.unit, self.near = cells.lattice, cells.unit, near
        self.keys, self.cell, enters = cells.keys[near], cells.cell[near], cells.enters[near].astype(np.int64)
        self.starts: IntArray = np.flatnonzero(np.diff(self.cell, prepend=-1))
        number = np.arange(1, len(near) + 1)
        own = np.repeat(self.starts, np.diff(np.append(self.starts, len(near))))
        sums = np.cumsum(enters)
        before = np.where(own > 0, sums[own - 1], 0) if len(near) else sums
        self.entered: IntArray = sums - before
        self.left: IntArray = number - own - self.entered
        self.colour: IntArray = self.lattice.colour[self.cell[self.starts]] if len(near) else self.starts

    def everything(self, asked: Asked) -> list[Fraction]:
        """What all of them are worth, colour by colour."""
        last = np.append(self.starts[1:], len(self.keys)) - 1 if len(self.starts) else self.starts
        left, entered = (
            by_parts(objects(n[last].tolist()), self.colour, self.lattice.colours) for n in (self.left, self.entered)
        )
        return [asked.leave * a + asked.enter * b for a, b in zip(left, entered, strict=True)]

    def bounds(self, asked: Asked, prices: Prices) -> list[Fraction]:
        """See `Cells.bounds`."""
        groups = self.lattice.colours if prices.alike else 1
        each = np.arange(len(self.lattice.colour))
        whole = math.lcm(*(price.denominator for price in prices.of))
        listed = objects([int(price * whole) for price in prices.of])[self.lattice.colour if prices.alike else each]
        paid = [
            self.lattice.dearest(np.where(self.lattice.colour == g, listed, 0) if prices.alike else listed)
            for g in range(groups)
        ]
        if asked.budget == 0:
            # What costs nothing is given up, and nothing else.
            free = self.everything(asked)
            worth = free if prices.alike else [sum(free, Fraction(0))]
        else:
            best, unit, _ = self._chosen(asked, listed, whole)
            of = self.colour if prices.alike else np.zeros(len(best), np.int64)
            worth = [unit * n for n in by_parts(best, of, groups)]
        return [n + Fraction(cost, whole) for n, cost in zip(worth, paid, strict=True)]

    def lines(self, asked: Asked, prices: Sequence[Fraction]) -> list[tuple[int, int, Fraction]]:
        """Say of each colour what leaves and enters at a price of its own, and what part of the budget it takes."""
        whole = math.lcm(*(price.denominator for price in prices))
        listed = objects([int(price * whole) for price in prices])[self.lattice.colour]
        best, _, worth = self._chosen(asked, listed, whole)
        gained = np.flatnonzero(best > 0)
        own = np.repeat(np.arange(len(self.starts)), np.diff(np.append(self.starts, len(self.keys))))
        places = np.where((worth == best[own]).astype(np.bool_), np.arange(len(worth)), len(worth))
        chosen = np.minimum.reduceat(places, self.starts)[gained] if len(self.starts) else gained
        parts = (objects(self.left[chosen].tolist()), objects(self.entered[chosen].tolist()), self.keys[chosen])
        left, entered, spent = (by_parts(n, self.colour[gained], self.lattice.colours) for n in parts)
        share = self.unit / asked.budget
        return [(a, b, share * e) for a, b, e in zip(left, entered, spent, strict=True)]

    def _chosen(self, asked: Asked, prices: ObjectArray, whole: int) -> tuple[ObjectArray, Fraction, ObjectArray]:
        """What each cell with items gives up is worth above its price, at least 0.

        Args:
            asked: a budget above 0.
            prices: int [cells], in parts of `whole`.
            whole: their common denominator.

        Returns:
            Integers for each such cell, their unit, and the same of every item and all that are cheaper.
        """
        flat = math.lcm(asked.leave.denominator, asked.enter.denominator)
        leave, enter = int(asked.leave * flat), int(asked.enter * flat)
        share = self.unit / asked.budget
        times = whole * share.denominator
        worth = (self.left.astype(object) * leave + self.entered.astype(object) * enter) * times
        worth = worth - (prices * (share.numerator * flat))[self.cell] * self.keys
        best = np.maximum.reduceat(worth, self.starts) if len(self.starts) else worth
        return np.maximum(best, 0), Fraction(1, flat * times), worth


def _ascending(keys: ObjectArray, cell: IntArray) -> IntArray:
    """Order items by cell, and within it exactly by key."""
    rough = nearly(keys)
    order: IntArray = np.lexsort((rough, cell))
    level = (np.diff(cell[order]) == 0) & (np.diff(rough[order]) == 0)
    if not level.any():
        return order
    # Doubles do not tell these apart.
    wrong = np.flatnonzero(level)
    wrong = wrong[(keys[order[wrong]] > keys[order[wrong + 1]]).astype(np.bool_)]
    for name in np.unique(cell[order[wrong]]).tolist():
        places = np.flatnonzero(cell[order] == name)
        order[places] = sorted(order[places].tolist(), key=lambda at: keys[at])
    return order

"""Many budgets answered by one running sum: doubles enclose each answer, integers add up what they leave open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from robspec.kernels.knapsack import FloatArray, IntArray
from robspec.kernels.knapsack.budget import Budget

_LEAST = 2.0**-960
"""Scales from here on have as many digits as any double, and so have the quotients below."""

_ROUNDED = 2.0**-23 + 2.0**-40
"""What the square of a number rounded to single precision is off by at most, relatively."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Budgets that differ in their scales and limits alone.

    Args:
        exponent: q, 1 or 2.
        places: where they stand among all.
        scales: [M].
        limits: [M].
        largest: of each limit the least scale, which reaches farthest.
    """

    exponent: int
    places: IntArray
    scales: FloatArray
    limits: FloatArray
    largest: tuple[tuple[float, float], ...]

    def enclosing(self, items: int, *, single: bool = False) -> tuple[FloatArray, FloatArray]:
        """What d^q sum up to at least and at most, of so many items or fewer that just fit the budgets.

        An item's units are floor(d^q scale), so that those of n items are below scale times the sum of d^q, and above
        it less n. The sum's rounding, in any order, and that of the products, is within (n + 16) 2^-52.

        Args:
            items: n.
            single: whether the items were rounded to single precision before: by 2^-24 of theirs, or, where they are
                that small, by at most 2^-126.

        Returns:
            [M] and [M]: what sums up to no more than the first fits; what sums up to more than the second does not.
        """
        with np.errstate(all="ignore"):
            error = (items + 16) * 2.0**-52 + (_ROUNDED if single else 0.0)
            small = items * 2.0 ** (-126 * self.exponent) if single else 0.0
            sure = np.minimum(self.limits / (self.scales * (1 + error)), np.finfo(np.float64).max) - small
            most = (self.limits + (items + 1)) / (self.scales * (1 - error)) + small
        # What cannot be counted on is left open: none surely fits, and any may.
        usable = self.scales >= _LEAST
        return np.where(usable, sure, -1.0), np.where(usable, most, np.inf)


def asked(budgets: Sequence[Budget]) -> list[Asked]:
    """Gather budgets with exponents 1 and 2."""
    exponents = np.array([budget.exponent for budget in budgets])
    scales = np.array([budget.scale for budget in budgets])
    limits = np.array([budget.limit for budget in budgets], dtype=np.float64)
    found = []
    for exponent in sorted(set(exponents.tolist())):
        places = np.flatnonzero(exponents == exponent)
        mine, those = scales[places], limits[places]
        largest = tuple((float(mine[those == limit].min()), limit) for limit in set(those.tolist()))
        found.append(Asked(exponent, places, mine, those, largest))
    return found


def enclosed(budgets: Sequence[Budget], items: int) -> list[tuple[Asked, tuple[FloatArray, FloatArray]]]:
    """Gather budgets and enclose their answers for items in single precision: once for many images asked alike.

    Args:
        budgets: with exponents 1 and 2.
        items: how many there are at most.

    Returns:
        The budgets of each exponent, and what encloses their answers; nobody may write to these.
    """
    # Hashing budgets would take as long as gathering them. What is kept holds on to them, so that none has their id.
    key = (items, *map(id, budgets))
    known = _enclosed.get(key)
    if known is None:
        while len(_enclosed) >= _KEPT:
            _enclosed.pop(next(iter(_enclosed)), None)
        known = list(budgets), [(some, some.enclosing(items, single=True)) for some in asked(budgets)]
        _enclosed[key] = known
    return known[1]


_KEPT = 16
_enclosed: dict[tuple[int, ...], tuple[list[Budget], list[tuple[Asked, tuple[FloatArray, FloatArray]]]]] = {}


def counts(ascending: FloatArray, budgets: Sequence[Budget], exact: Callable[[Budget], int]) -> IntArray:
    """Count, for each budget, how many leading items fit it together.

    The sum of d^q is the same for all budgets.

    Args:
        ascending: no NaN.
        budgets: with exponents 1 and 2.
        exact: counts for one budget, in integers.

    Returns:
        [M], the integers that `exact` would give.
    """
    found = np.zeros(len(budgets), dtype=np.int64)
    for some in asked(budgets):
        with np.errstate(all="ignore"):
            running = ascending * ascending if some.exponent == 2 else ascending.copy()
            np.cumsum(running, out=running)
        sure, most = some.enclosing(len(ascending))
        least, beyond = (np.searchsorted(running, end, side="right") for end in (sure, most))
        found[some.places] = least
        for at in np.flatnonzero(least != beyond).tolist():
            found[some.places[at]] = exact(budgets[int(some.places[at])])
    return found

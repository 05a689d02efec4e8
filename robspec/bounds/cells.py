"""Counting metrics of a network that ends in a fixed up-sampling: its pixels flip cell by cell.

What is certified is the better of two bounds that both hold: the greedy knapsack over full-size logits (MATH.md 3.A),
and the one over cells of coarse logits (RESOLUTION.md R1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

import numpy as np

from robspec.bounds.search import Found
from robspec.ir.types import Metric
from robspec.kernels.coarse import CoarsePrepared, shares
from robspec.kernels.coarse.shares import Reached
from robspec.kernels.knapsack import IntArray
from robspec.kernels.knapsack.budget import Budget
from robspec.kernels.knapsack.search import largest_certifying
from robspec.semantics.constant import Constant

if TYPE_CHECKING:
    from robspec.bounds.context import Context

_AHEAD = Fraction(9, 8)
"""Steps in which a larger radius is looked for."""
_LARGEST = Fraction(math.nextafter(math.inf, 0.0))
_BITS = 12
"""Of what parts of nodes add to a radius."""


class FullSize(Protocol):
    """A bound over full-size logits."""

    def clean(self) -> list[Fraction | None]:
        """Clean values."""
        ...

    def worst_case(self, budgets: Sequence[Fraction]) -> list[tuple[Fraction | None, ...]]:
        """Values within budgets."""
        ...

    def radius(self, gammas: Sequence[Sequence[Fraction | None]], *, strict: bool) -> list[tuple[Found, ...]]:
        """Radii."""
        ...


class Counted(FullSize, Protocol):
    """One that counts items."""

    def counts(self) -> list[tuple[int, int]]:
        """Items, and pixels that count."""
        ...

    def flips_needed(self, gammas: Sequence[Sequence[Fraction | None]], *, strict: bool) -> list[list[int]]:
        """Fewest flips that meet an objective."""
        ...


class Bound:
    """Pixel accuracy or stability on a batch, by cells where that is better.

    Args:
        full: the bound over full-size logits.
        read: the batch, cell by cell.
        constant: of coarse logits too, in l2.
    """

    def __init__(self, full: Counted, read: CoarsePrepared, constant: Constant) -> None:
        self._full, self._cells, self._constant = full, read, constant

    def clean(self) -> list[Fraction | None]:
        """See `counting.Bound.clean`."""
        return self._full.clean()

    def worst_case(self, budgets: Sequence[Fraction]) -> list[tuple[Fraction | None, ...]]:
        """See `counting.Bound.worst_case`; never less than what it certifies."""
        rows = self._full.worst_case(budgets)
        flips = flips_within(self._cells, [self._budget(eps) for eps in budgets]).tolist()
        return [
            tuple(
                None if known is None else max(known, Fraction(items - n, valid))
                for known, n in zip(row, counts, strict=True)
            )
            for row, counts, (items, valid) in zip(rows, flips, self._full.counts(), strict=True)
        ]

    def radius(self, gammas: Sequence[Sequence[Fraction | None]], *, strict: bool) -> list[tuple[Found, ...]]:
        """See `counting.Bound.radius`; never less than what it certifies."""
        rows = self._full.radius(gammas, strict=strict)
        needed = self._full.flips_needed(gammas, strict=strict)
        return [
            tuple(
                known if known is None or wanted <= 0 else max(known, self._radius(image, wanted, known))
                for known, wanted in zip(row, wishes, strict=True)
            )
            for image, (row, wishes) in enumerate(zip(rows, needed, strict=True))
        ]

    def parts(self, image: int, eps: Fraction) -> tuple[Reached, IntArray] | None:
        """Say what cells have of their nodes within a budget; see `parts_of`."""
        return parts_of(self._cells, self._constant, image, eps)

    def _radius(self, image: int, wanted: int, known: Fraction | float) -> Fraction | float:
        return radius_of(self._cells, self._constant, image, wanted, known)

    def _budget(self, eps: Fraction) -> Budget:
        return _asked(self._cells, self._constant, eps)


class Rated:
    """A rate of one class that only falls as pixels leave it, recall or FNR, by cells where that is better.

    Args:
        metric: its plan is a `Rate` of one class whose flips leave it.
        read: the batch, cell by cell, with the labels of that class alone.
        others: of each image, how many pixels are annotated with another class.
        constant: of the full-size logits, and in l2 of the coarse ones; without these for no look at cells.
    """

    def __init__(self, metric: Metric, read: CoarsePrepared, others: Sequence[int], constant: Constant) -> None:
        self._metric, self._read, self._others = metric, read, list(others)
        self._constant = constant
        self._counts: list[tuple[int, int]] = list(
            zip(read.full.items.tolist(), read.full.valid.tolist(), strict=True)
        )

    def _value(self, image: int, flips: int) -> Fraction | None:
        items, valid = self._counts[image]
        # Whether the others are false positives or true negatives makes no difference.
        return self._metric.formula.ratio.at(items - flips, 0, valid - items + flips, self._others[image])

    def clean(self, more: Sequence[int] | None = None) -> list[Fraction | None]:
        """See `counting.Bound.clean`.

        Args:
            more: of each image, how many pixels that are missed to count as found; None for none.
        """
        return [self._value(image, -n) for image, n in enumerate(more or [0] * len(self._counts))]

    def worst_case(self, budgets: Sequence[Fraction]) -> list[tuple[Fraction | None, ...]]:
        """See `counting.Bound.worst_case`."""
        read, norm = self._read, self._constant.output_norm.p
        asked = [Budget.of(eps, self._constant.value, norm, read.pixels, single=read.single) for eps in budgets]
        flips = read.full.flips(asked)
        if self._constant.coarse is not None:
            flips = np.minimum(flips, flips_within(read, [_asked(read, self._constant, eps) for eps in budgets]))
        return [tuple(self._value(image, n) for n in row) for image, row in enumerate(flips.tolist())]

    def radius(self, gammas: Sequence[Sequence[Fraction | None]], *, strict: bool) -> list[tuple[Found, ...]]:
        """See `counting.Bound.radius`."""
        return [
            tuple(None if gamma is None else self._radius(image, gamma, strict=strict) for gamma in row)
            for image, row in enumerate(gammas)
        ]

    def parts(self, image: int, eps: Fraction) -> tuple[Reached, IntArray] | None:
        """Say what cells have of their nodes within a budget; see `parts_of`."""
        return None if self._constant.coarse is None else parts_of(self._read, self._constant, image, eps)

    def _radius(self, image: int, gamma: Fraction, *, strict: bool) -> Found:
        if self._value(image, 0) is None:
            return None
        wanted = self._needed(image, gamma, strict=strict)
        if wanted == 0:
            return Fraction(0)
        asked = np.full((len(self._counts), 1), wanted, dtype=np.int64)
        found = float(self._read.full.radii(asked, self._constant.value, self._constant.output_norm.p)[image, 0])
        known = found if found == math.inf else Fraction(found)
        if self._constant.coarse is None:
            return known
        return max(known, radius_of(self._read, self._constant, image, wanted, known))

    def _needed(self, image: int, gamma: Fraction, *, strict: bool) -> int:
        """Fewest flips that meet an objective, one more than there are items where none do."""

        def met(flips: int) -> bool:
            value = self._value(image, flips)
            if value is None:
                return False
            low, high = (gamma, value) if self._metric.lower_is_better else (value, gamma)
            return low < high if strict else low <= high

        low, high = -1, int(self._counts[image][0]) + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if met(middle) else (middle, high)
        return high


def level(right: CoarsePrepared, every: CoarsePrepared, rounding: Fraction) -> list[int]:
    """Count pixels that are wrong, of which rounding leaves open whether they are.

    Args:
        right: the batch, whose items are the pixels that are right.
        every: the same, with all pixels for items.
        rounding: bound of the l2 norm of the error of the full-size logits of one image, rounded up.

    Returns:
        Of each image, how many there are at most: no entry is off by more than the norm.
    """
    reach = Budget.of(rounding, Fraction(1), None, right.pixels, single=right.single)
    return [int(n) for n in (every.full.flips([reach]) - right.full.flips([reach]))[:, 0]]


def looked_at(context: Context, constant: Constant) -> Constant:
    """Leave out what is known of coarse logits where bounds are not to look at them."""
    known = context.coarse is not None and context.by_cells and constant.output_norm.p == 2
    return constant if known else replace(constant, coarse=None)


def budget_of(pixels: int, constant: Constant, eps: Fraction, *, single: bool) -> Budget:
    """A budget of the coarse logits, their rounding included; see `Budget.of`."""
    if constant.coarse is None:
        raise ValueError("nothing is known of coarse logits")
    reach = constant.coarse * eps + constant.coarse_rounding
    return Budget.of(reach, Fraction(1), Fraction(2), pixels, single=single)


def _asked(cells: CoarsePrepared, constant: Constant, eps: Fraction) -> Budget:
    return budget_of(cells.pixels, constant, eps, single=cells.single)


def flips_within(cells: CoarsePrepared, budgets: Sequence[Budget]) -> IntArray:
    """Bound how many pixels each budget flips: a budget for each colour of cells, or one for all and parts of nodes.

    Args:
        cells: the batch.
        budgets: of the coarse logits.

    Returns:
        int64 [B, M], the smaller of two bounds that both hold.
    """
    flips = cells.flips(budgets)
    for image, row in enumerate(flips):
        for at, budget in enumerate(budgets):
            if row[at] and budget.exponent == 2 and shares.is_shared(cells.grid):
                row[at] = min(row[at], shares.share_out(cells, image, budget).flips(budget))
    return flips


def parts_of(cells: CoarsePrepared, constant: Constant, image: int, eps: Fraction) -> tuple[Reached, IntArray] | None:
    """Say what cells have of their nodes in the bound within a budget.

    Args:
        cells: the batch.
        constant: of the coarse logits, in l2, with their rounding.
        image: which one.
        eps: the budget.

    Returns:
        The items within reach, and parts as `shares.divided` gives them; None where cells share nothing.
    """
    budget = _asked(cells, constant, eps)
    if budget.exponent != 2 or not shares.is_shared(cells.grid):
        return None
    return shares.given_out(cells, image, budget)


def radius_of(
    cells: CoarsePrepared, constant: Constant, image: int, wanted: int, known: Fraction | float
) -> Fraction | float:
    """Find a radius within which cells let fewer pixels flip than wanted, where it is larger than known.

    Args:
        cells: the batch.
        constant: of the coarse logits, in l2, with their rounding.
        image: which one.
        wanted: at least 1.
        known: a radius that is certified already.

    Returns:
        The largest double with a budget for each colour, or what parts of nodes add to it.
    """
    if known == math.inf or wanted > int(cells.items[image]):
        return math.inf
    if constant.coarse == 0:
        return math.inf if cells.flips_of(image, _asked(cells, constant, Fraction(0))) < wanted else 0

    def certifies(eps: float) -> bool:
        return cells.flips_of(image, _asked(cells, constant, Fraction(eps))) < wanted

    found = max(Fraction(largest_certifying(certifies, float(known))), Fraction(known))
    return _farther(cells, constant, image, wanted, found) if shares.is_shared(cells.grid) else found


def _farther(cells: CoarsePrepared, constant: Constant, image: int, wanted: int, known: Fraction) -> Fraction:
    """Look for a larger radius with parts of nodes, made for each radius that is tried."""

    def certifies(eps: Fraction) -> bool:
        budget = _asked(cells, constant, eps)
        return budget.exponent == 2 and shares.share_out(cells, image, budget).flips(budget) < wanted

    def ahead(eps: Fraction) -> Fraction:
        return Fraction(float(min(eps * _AHEAD, _LARGEST)))

    low, high = known, ahead(known)
    while high > low and certifies(high):
        low, high = high, ahead(high)
    while high - low > low / 2**_BITS:
        middle = Fraction(float((low + high) / 2))
        # Doubles that are next to each other have none between.
        if middle in (low, high):
            break
        low, high = (middle, high) if certifies(middle) else (low, middle)
    return low

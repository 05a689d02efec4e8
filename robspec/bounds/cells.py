"""Counting metrics of a network that ends in a fixed up-sampling: its pixels flip cell by cell.

What is certified is the better of two bounds that both hold: the greedy knapsack over full-size logits (MATH.md 3.A),
and the one over cells of coarse logits (RESOLUTION.md R1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

from robspec.bounds.search import Found
from robspec.kernels.coarse import CoarsePrepared
from robspec.kernels.knapsack.budget import Budget
from robspec.kernels.knapsack.search import largest_certifying

_LEVEL = Budget(0, 0.0, 0)
"""Nothing moves."""


class FullSize(Protocol):
    """The bound over full-size logits."""

    def clean(self) -> list[Fraction | None]:
        """Clean values."""
        ...

    def counts(self) -> list[tuple[int, int]]:
        """Items, and pixels that count."""
        ...

    def worst_case(self, budgets: Sequence[Fraction]) -> list[tuple[Fraction | None, ...]]:
        """Values within budgets."""
        ...

    def radius(self, gammas: Sequence[Sequence[Fraction | None]], *, strict: bool) -> list[tuple[Found, ...]]:
        """Radii."""
        ...

    def flips_needed(self, gammas: Sequence[Sequence[Fraction | None]], *, strict: bool) -> list[list[int]]:
        """Fewest flips that meet an objective."""
        ...


class Bound:
    """Pixel accuracy or stability on a batch, by cells where that is better.

    Args:
        full: the bound over full-size logits.
        read: the batch, cell by cell.
        constant: of the coarse logits, in l2.
    """

    def __init__(self, full: FullSize, read: CoarsePrepared, constant: Fraction) -> None:
        self._full, self._cells, self._constant = full, read, constant

    def clean(self) -> list[Fraction | None]:
        """See `counting.Bound.clean`."""
        return self._full.clean()

    def worst_case(self, budgets: Sequence[Fraction]) -> list[tuple[Fraction | None, ...]]:
        """See `counting.Bound.worst_case`; never less than what it certifies."""
        rows = self._full.worst_case(budgets)
        flips = self._cells.flips([self._budget(eps) for eps in budgets]).tolist()
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

    def _radius(self, image: int, wanted: int, known: Fraction | float) -> Fraction | float:
        """Largest double within which cells let fewer than `wanted` pixels flip, where it is larger than `known`."""
        if known == math.inf or wanted > int(self._cells.items[image]):
            return math.inf
        if self._constant == 0:
            return math.inf if self._cells.flips_of(image, _LEVEL) < wanted else 0

        def certifies(eps: float) -> bool:
            return self._cells.flips_of(image, self._budget(Fraction(eps))) < wanted

        return Fraction(largest_certifying(certifies, float(known)))

    def _budget(self, eps: Fraction) -> Budget:
        return Budget.of(eps, self._constant, Fraction(2), self._cells.pixels, single=self._cells.single)

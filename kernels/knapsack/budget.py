"""The attack budget in the integer units every backend sums in (MATH.md section 6)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt

GRID_BITS = 40
"""Costs are counted in units of budget / 2^40 while an image has at most 2^22 pixels."""

_SMALLEST_BUDGET = Fraction(1, 2**960)


def grid_bits(pixels: int) -> int:
    """Choose the grid so that a sum over all pixels cannot overflow a signed 64-bit integer.

    Args:
        pixels: how many pixels one image has, items or not.

    Returns:
        b, the budget being 2^b units: 40 up to 2^22 pixels, else 62 - ceil(log2 pixels). An item is at most
        2^b + 1 units, so a sum of n items is at most n 2^b + n < 2^63.

    Raises:
        ValueError: 2^40 pixels or more, where the grid would be too coarse to mean anything.

    Source: MATH.md section 6.
    """
    if pixels >= 2**40:
        raise ValueError("an image of 2^40 pixels or more is out of range")
    if pixels <= 2**22:
        return GRID_BITS
    return 62 - (pixels - 1).bit_length()


def round_down(value: Fraction) -> float:
    """Round an exact non-negative rational to the largest double not above it."""
    try:
        nearest = float(value)
    except OverflowError:
        return math.nextafter(math.inf, 0.0)
    if nearest == math.inf or Fraction(nearest) > value:
        return math.nextafter(nearest, -math.inf)
    return nearest


def round_up(value: Fraction) -> float:
    """Round an exact non-negative rational to the smallest double not below it (possibly infinity)."""
    try:
        nearest = float(value)
    except OverflowError:
        return math.inf
    if nearest != math.inf and Fraction(nearest) < value:
        return math.nextafter(nearest, math.inf)
    return nearest


@dataclass(frozen=True, slots=True)
class Budget:
    """What a backend needs to know of (L eps)^q: how a margin d becomes an integer cost, and the limit.

    Args:
        exponent: 2: item = floor(d * d * scale); 1: item = floor(d * scale); 0: no sum, an item flips on its own
            iff d <= scale.
        scale: for exponents 1 and 2, grid units per unit of d^q, rounded down (costs never overstated); for
            exponent 0, the largest affordable margin, rounded up.
        limit: how many grid units may be spent in all; an item above it costs limit + 1, unaffordable. 0 for
            exponent 0.
    """

    exponent: int
    scale: float
    limit: int

    @staticmethod
    @lru_cache(maxsize=1024)
    def of(
        eps: Fraction,
        constant: Fraction,
        norm: Fraction | None,
        pixels: int,
        *,
        single: bool,
        squared: bool = False,
    ) -> Budget:
        """Convert an attack budget on the image into integer units on the logits.

        Args:
            eps: radius of the closed ball around the image, exact, in input units; at least 0.
            constant: Lipschitz constant L, image to logits, already rounded up; at least 0.
            norm: the exponent q of the logits' norm: 1, 2 or None for infinity.
            pixels: pixels of one image, which fixes the grid.
            single: True for a single-logit head, whose margin carries no factor 2^{(1-q)/q}.
            squared: True when items are already squared l2 distances (water filling), for q = 2 only.

        Returns:
            The budget; every rounding makes attacks cheaper, never dearer.

        Raises:
            ValueError: negative eps or constant, or another norm.

        Source: MATH.md sections 2 and 6.
        """
        if eps < 0 or constant < 0:
            raise ValueError("eps and the Lipschitz constant must not be negative")
        reach = eps * constant
        if norm not in (1, 2, None):
            raise ValueError(f"no kernel for q = {norm}")
        if squared and norm != 2:
            raise ValueError("squared distances are for q = 2")
        if reach == 0:
            return Budget(0, 0.0, 0)
        if norm is None:
            factor = 1 if single else 2
            return Budget(0, round_up(factor * reach * (1 + Fraction(1, 2**50))), 0)
        q = int(norm)
        spend = max(reach**q, _SMALLEST_BUDGET)
        bits = grid_bits(pixels)
        share = Fraction(1) if single or squared else Fraction(2) ** (1 - q)
        exponent = 1 if squared else q
        return Budget(exponent, round_down(2**bits * share * (1 - Fraction(1, 2**45)) / spend), 2**bits)


def costs(items: npt.NDArray[np.float64], budget: Budget) -> npt.NDArray[np.int64]:
    """Convert items to integer grid units, rounded down: the one place where arrays of costs are rounded.

    Args:
        items: float64, not negative; infinity for out of reach, and whatever is said of NaN means nothing.
        budget: with exponent 1 or 2.

    Returns:
        int64, limit + 1 where an item is unaffordable; compiled kernels and `reference.item_cost` equal it.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        cost = items * items * budget.scale if budget.exponent == 2 else items * budget.scale
    # Only an infinite item times a scale of 0 is not a number: the budget is then beyond every item.
    cost = np.nan_to_num(cost, copy=False, nan=0.0, posinf=np.inf)
    found: npt.NDArray[np.int64] = np.minimum(cost, float(budget.limit + 1)).astype(np.int64)
    return found


def affordable(ascending: npt.NDArray[np.float64], budget: Budget) -> npt.NDArray[np.int64]:
    """Convert ascending items to integer costs, rounded down, leaving out what no budget buys."""
    found = costs(ascending, budget)
    return found[: np.searchsorted(found, budget.limit + 1, side="left")]

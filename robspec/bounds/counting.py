"""Counting metrics, h = (correct - n) / D with D fixed by the annotation: the exact greedy knapsack (MATH.md 3.A)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from robspec.kernels.knapsack import Items, Prepared
from robspec.kernels.knapsack.budget import Budget
from robspec.semantics.constant import Constant

ITEMS = {"pixel_accuracy": Items.CORRECT, "stability": Items.PREDICTED}
"""What each counting metric counts, and so what an attack flips."""


def clean(prepared: Prepared) -> list[Fraction | None]:
    """Compute the clean value of each image.

    Args:
        prepared: a batch of images.

    Returns:
        correct / counted per image, exact; None where nothing counts (every pixel ignored).
    """
    pairs = zip(prepared.items.tolist(), prepared.valid.tolist(), strict=True)
    return [Fraction(items, valid) if valid else None for items, valid in pairs]


def worst_case(
    prepared: Prepared, budgets: Sequence[Fraction], constant: Constant
) -> list[tuple[Fraction | None, ...]]:
    """Bound each image's value from below within each budget (Q1).

    Args:
        prepared: a batch of images.
        budgets: radii of the closed balls around the images, exact, input units.
        constant: Lipschitz constant for the attack's norm.

    Returns:
        Per image, per budget: (correct - N) / D, exact rational, never above the true worst case over the relaxed
        set; None where the metric is undefined.

    Source: MATH.md section 3.A.
    """
    q = constant.output_norm.p
    queries = [Budget.of(eps, constant.value, q, prepared.pixels, single=prepared.single) for eps in budgets]
    flips = prepared.flips(queries).tolist()
    rows = zip(prepared.items.tolist(), prepared.valid.tolist(), flips, strict=True)
    return [tuple(Fraction(items - n, valid) if valid else None for n in row) for items, valid, row in rows]


def radius(
    prepared: Prepared, thresholds: Sequence[Sequence[Fraction | None]], strict: bool, constant: Constant
) -> list[tuple[Fraction | float | None, ...]]:
    """Bound each image's generalized robustness radius from below (Q2).

    Args:
        prepared: a batch of images.
        thresholds: per image, the values gamma at which the objective h <= gamma (h < gamma when strict) is met;
            None where the metric is undefined.
        strict: whether the objective is strict.
        constant: Lipschitz constant for the attack's norm.

    Returns:
        Per image, per threshold: the radius in input units, an exact double as a rational; 0 where the clean image
        meets the objective; math.inf where no number of flips does; None where undefined.

    Source: MATH.md section 3.A.
    """
    needed = [
        [_flips_needed(items, valid, gamma, strict) for gamma in row]
        for items, valid, row in zip(prepared.items.tolist(), prepared.valid.tolist(), thresholds, strict=True)
    ]
    radii = prepared.radii(np.array(needed, dtype=np.int64), constant.value, constant.output_norm.p).tolist()
    return [
        tuple(
            None if gamma is None or not valid else math.inf if r == math.inf else Fraction(r)
            for r, gamma in zip(row, gammas, strict=True)
        )
        for row, gammas, valid in zip(radii, thresholds, prepared.valid.tolist(), strict=True)
    ]


def _flips_needed(items: int, valid: int, gamma: Fraction | None, strict: bool) -> int:
    """Fewest n with (items - n) / valid <= gamma (< gamma when strict); at most items + 1, at least 0."""
    if gamma is None or not valid:
        return 0
    exact = items - gamma * valid
    needed = math.floor(exact) + 1 if strict else math.ceil(exact)
    return min(max(needed, 0), items + 1)

"""What a histogram of items alone says of a budget: an interval that holds the answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from robspec.kernels.knapsack import FloatArray, IntArray
from robspec.kernels.knapsack._margins import BUCKET_BASE, BUCKET_SHIFT, BUCKETS
from robspec.kernels.knapsack.budget import Budget, costs


@cache
def edges() -> FloatArray:
    """Lower edges of the buckets, 0 first, infinity last."""
    bits = (np.arange(BUCKETS + 1, dtype=np.int64) + BUCKET_BASE) << BUCKET_SHIFT
    found: FloatArray = bits.view(np.float64).copy()
    found[0], found[-1] = 0.0, np.inf
    found.setflags(write=False)
    return found


def window(count: IntArray, budget: Budget) -> tuple[int, int]:
    """Bracket how far a budget reaches, in buckets.

    Args:
        count: [BUCKETS], items in each.
        budget: with an exponent other than 0.

    Returns:
        (first, last): all items before bucket `first` fit the budget together; of those after bucket `last` none
        does any more.
    """
    least = costs(edges()[:-1], budget)
    most = np.append(least[1:], budget.limit + 1)
    spent_least: IntArray = np.cumsum(count * least)
    spent_most: IntArray = np.cumsum(count * most)
    last = min(int(np.searchsorted(spent_least, budget.limit, side="right")), BUCKETS - 1)
    first = min(int(np.searchsorted(spent_most, budget.limit, side="right")), last)
    return first, last


def ends(counts: IntArray, budgets: Sequence[Budget]) -> list[tuple[int, float]]:
    """Say of several images how far the largest of several budgets reaches at most.

    Args:
        counts: [B, BUCKETS], items of each image in each.
        budgets: with an exponent other than 0; of those that differ in their scale alone the least is the largest.

    Returns:
        For each image how many items there are up to the end, and the end, an upper edge.
    """
    found = np.zeros(len(counts), dtype=np.int64)
    largest: dict[tuple[int, int], Budget] = {}
    for budget in budgets:
        key = (budget.exponent, budget.limit)
        if key not in largest or budget.scale < largest[key].scale:
            largest[key] = budget
    for budget in largest.values():
        spent = np.cumsum(counts * costs(edges()[:-1], budget), axis=1)
        found = np.maximum(found, np.count_nonzero(spent <= budget.limit, axis=1))
    last = np.minimum(found, BUCKETS - 1).tolist()
    return [(int(row[: end + 1].sum()), float(edges()[end + 1])) for row, end in zip(counts, last, strict=True)]


def reach(count: IntArray, budget: Budget | None, stretch: float) -> int:
    """Choose the first bucket whose items a budget cannot reach.

    Args:
        count: [BUCKETS], items in each, priced from below.
        budget: any, None for no limit.
        stretch: an item costs less than this many times what it is priced at.

    Returns:
        A bucket, BUCKETS for none; its lower edge is above what the budget reaches by more than a rounding.
    """
    if budget is None:
        return BUCKETS
    if budget.exponent:
        top = float(edges()[window(count, budget)[1] + 1]) * stretch
    else:
        # Nobody checks afterwards that items which flip alone are all there.
        top = min(budget.scale, float(edges()[-2])) * (1 + 2.0**-30)
    return min(int(np.searchsorted(edges(), top, side="right")), BUCKETS)

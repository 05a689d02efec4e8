"""Connected parts of a mask, and what it costs to lose each of them: numbers in, numbers out (DETECTION.md D6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from robspec.kernels.knapsack import BoolArray, FloatArray, IntArray
from robspec.kernels.knapsack.budget import Budget, costs

BESIDE = 0
"""Pixels of no component."""


def labelled(mask: BoolArray) -> IntArray:
    """Number the connected components of a mask; pixels are connected by a side or a corner.

    Args:
        mask: [H, W].

    Returns:
        [H, W]: 1, 2, ... in the order of their first pixels, row by row; BESIDE elsewhere.
    """
    height, width = mask.shape
    padded = np.zeros((height, width + 2), dtype=np.int8)
    padded[:, 1:-1] = mask
    change = np.diff(padded, axis=1)
    row, first = np.nonzero(change == 1)
    last = np.nonzero(change == -1)[1] - 1
    # Runs of pixels of a row, in order; each is joined with those of the row above that it touches.
    parent = list(range(len(row)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    starts = np.searchsorted(row, np.arange(height + 1)).tolist()
    firsts, lasts = first.tolist(), last.tolist()
    for y in range(1, height):
        above, j = range(starts[y - 1], starts[y]), starts[y]
        for i in above:
            while j < starts[y + 1] and lasts[j] < firsts[i] - 1:
                j += 1
            k = j
            while k < starts[y + 1] and firsts[k] <= lasts[i] + 1:
                a, b = root(i), root(k)
                parent[max(a, b)] = min(a, b)
                k += 1
    roots = [root(i) for i in range(len(parent))]
    numbers: dict[int, int] = {}
    run = [numbers.setdefault(r, len(numbers) + 1) for r in roots]
    found = np.zeros(mask.shape, dtype=np.int64)
    found[mask] = np.repeat(np.array(run, dtype=np.int64), last - first + 1)
    return found


def needed(share: Fraction, pixels: int) -> int:
    """How many pixels of a component have to be right for it to count as found: at least one.

    Args:
        share: of its pixels, exact, from 0 to 1.
        pixels: how many it has.
    """
    return max(1, math.ceil(share * pixels))


def spare(margins: FloatArray, need: int) -> FloatArray:
    """The margins of the pixels whose loss loses a component most cheaply, ascending.

    Args:
        margins: of its pixels that are right.
        need: how many of them it needs.

    Returns:
        The len(margins) - need + 1 smallest; none where it is lost already.
    """
    return np.sort(margins)[: max(len(margins) - need + 1, 0)]


def lost(components: Sequence[FloatArray], budget: Budget) -> int:
    """Count the components that one budget loses at most.

    Args:
        components: of those that are found, what `spare` gives.
        budget: of the image.

    Source: DETECTION.md D6.
    """
    prices = []
    for margins in components:
        if budget.exponent:
            prices.append(int(costs(margins, budget).sum()))
        else:
            # Each pixel moves for itself; the dearest decides.
            prices.append(int(bool(margins[-1] > budget.scale)))
    number = spent = 0
    for price in sorted(prices):
        spent += price
        if spent > budget.limit:
            break
        number += 1
    return number

"""How many true positives and how many true negatives the cheapest attack on a one-class metric flips."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

_TRIED = 33
"""Numbers of lost true positives tried at once; those next to the best are tried again, closer together."""


def cheapest(
    leave: npt.NDArray[np.float64], enter: npt.NDArray[np.float64], meets: Callable[[int, int], bool]
) -> tuple[int, int]:
    """Choose numbers of flips that meet a condition at about the least cost; see MATH.md section 3.C for the bound.

    Args:
        leave: costs of the true positives that can be lost, ascending.
        enter: the same of the true negatives.
        meets: whether so many of each meet the condition; monotone in both.

    Returns:
        Numbers of the cheapest to be taken of either; all of both where even they do not meet it.
    """
    first, second = (np.concatenate([[0.0], np.cumsum(costs)]) for costs in (leave, enter))
    low, high = 0, len(leave)
    if not meets(high, len(enter)):
        return high, len(enter)
    best, partner, least = high, len(enter), float(first[-1] + second[-1])
    while True:
        tried = np.unique(np.linspace(low, high, _TRIED).astype(np.int64))
        for a in map(int, tried):
            b = _fewest(a, len(enter), meets)
            if b is not None and float(first[a] + second[b]) < least:
                best, partner, least = a, b, float(first[a] + second[b])
        if len(tried) == high - low + 1:
            return best, partner
        gap = int(np.diff(tried).max())
        low, high = max(best - gap, 0), min(best + gap, len(leave))


def _fewest(a: int, most: int, meets: Callable[[int, int], bool]) -> int | None:
    """The least number of the others beside `a`, or None."""
    if not meets(a, most):
        return None
    low, high = 0, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if meets(a, middle) else (middle + 1, high)
    return high

"""Many budgets answered by one running sum: doubles enclose each answer, integers add up what they leave open."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from robspec.kernels.knapsack import FloatArray, IntArray
from robspec.kernels.knapsack.budget import Budget

_LEAST = 2.0**-960
"""Scales from here on have as many digits as any double, and so have the quotients below."""


def counts(ascending: FloatArray, budgets: Sequence[Budget], exact: Callable[[Budget], int]) -> IntArray:
    """Count, for each budget, how many leading items fit it together.

    An item's units are floor(d^q scale), so that those of n items are below scale times the sum of d^q, and above it
    less n. The sum is the same for all budgets; its rounding, and that of the products, is within (n + 16) 2^-52.

    Args:
        ascending: no NaN.
        budgets: with exponents 1 and 2.
        exact: counts for one budget, in integers.

    Returns:
        [M], the integers that `exact` would give.
    """
    found = np.zeros(len(budgets), dtype=np.int64)
    for exponent in {budget.exponent for budget in budgets}:
        places = [m for m, budget in enumerate(budgets) if budget.exponent == exponent]
        with np.errstate(all="ignore"):
            running = ascending * ascending if exponent == 2 else ascending.copy()
            np.cumsum(running, out=running)
            scales = np.array([budgets[m].scale for m in places])
            limits = np.array([budgets[m].limit for m in places], dtype=np.float64)
            error = (len(ascending) + 16) * 2.0**-52
            # What cannot be counted on is left open: none surely fits, and any may.
            sure = np.minimum(limits / (scales * (1 + error)), np.finfo(np.float64).max)
            most = (limits + (len(ascending) + 1)) / (scales * (1 - error))
        usable = scales >= _LEAST
        least = np.where(usable, np.searchsorted(running, sure, side="right"), 0)
        beyond = np.where(usable, np.searchsorted(running, most, side="right"), len(ascending))
        found[places] = least
        for at in np.flatnonzero(least != beyond).tolist():
            found[places[at]] = exact(budgets[places[at]])
    return found

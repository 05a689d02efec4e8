"""Pixels of different worth, in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from robspec.kernels.knapsack import BoolArray, FloatArray, IntArray
from robspec.kernels.knapsack.budget import Budget, affordable
from robspec.kernels.weighted import GAIN_BITS, ROUNDING, exact_sum


class Cpu:
    """See `robspec.kernels.weighted.Backend`."""

    name = "cpu"

    def predictions(self, z: FloatArray) -> tuple[IntArray, FloatArray]:
        """See `Backend.predictions`."""
        flat = z.reshape(len(z), -1)
        if len(flat) == 1:
            return (flat[0] > 0).astype(np.int64), np.abs(flat[0])
        ordered = np.partition(flat, len(flat) - 2, axis=0)
        return np.argmax(flat, axis=0).astype(np.int64), ordered[-1] - ordered[-2]

    def sides(self, z: FloatArray, classes: Sequence[int]) -> tuple[BoolArray, BoolArray, FloatArray]:
        """See `Backend.sides`."""
        inside = np.isin(np.arange(max(len(z), 2)), classes)
        predicted, margins = self.predictions(z)
        ahead = inside[predicted]
        if len(z) > 1:
            flat = z.reshape(len(z), -1)
            margins = np.abs(flat[inside].max(axis=0) - flat[~inside].max(axis=0))
        return inside, ahead, margins

    def most(self, margins: FloatArray, profits: FloatArray, budget: Budget) -> Fraction:
        """See `Backend.most`."""
        if not budget.exponent:
            return exact_sum(profits[margins <= budget.scale])
        order = np.argsort(margins, kind="stable")
        costs = affordable(margins[order], budget)
        return dual_bound(costs, profits[order][: len(costs)], budget.limit)


def dual_bound(costs: IntArray, profits: FloatArray, limit: int) -> Fraction:
    """Bound the profit of a knapsack from above by its linear dual at a good price.

    Args:
        costs: integers, none above `limit`.
        profits: positive doubles.
        limit: the budget.

    Returns:
        lambda B + sum_i (p_i - lambda c_i)_+, rounded up.

    Source: MATH.md section 3.B.
    """
    whole = exact_sum(profits)
    if not len(costs) or int(costs.sum()) <= limit:
        return whole
    # A power of two, so that neither sums overflow nor prices of tiny profits vanish; what vanishes now is far below
    # the slack.
    exponent = int(np.frexp(profits.max())[1])
    profits = np.ldexp(profits, -exponent)
    with np.errstate(divide="ignore"):
        worth = np.where(costs > 0, profits / np.maximum(costs, 1), np.inf)
    order = np.argsort(-worth, kind="stable")
    breaks = int(np.searchsorted(np.cumsum(costs[order]), limit, side="right"))
    price = float(worth[order][min(breaks, len(order) - 1)])
    if not np.isfinite(price):
        return whole
    gains = np.maximum(profits - price * costs.astype(np.float64), 0.0)
    gained = Fraction(int(np.ceil(np.ldexp(gains, GAIN_BITS)).astype(np.int64).sum()), 2**GAIN_BITS)
    return min(whole, (Fraction(price) * limit + gained) * Fraction(2) ** exponent + whole * ROUNDING)


BACKEND = Cpu()

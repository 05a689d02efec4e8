"""Pixels of different worth in plain Python: the definition that every other backend must equal."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate

import numpy as np

from robspec.kernels.knapsack import BoolArray, FloatArray, IntArray
from robspec.kernels.knapsack.budget import Budget
from robspec.kernels.knapsack.reference import item_cost, margin, prediction
from robspec.kernels.weighted import GAIN_BITS, ROUNDING


class Reference:
    """See `robspec.kernels.weighted.Backend`."""

    name = "reference"

    def predictions(self, z: FloatArray) -> tuple[IntArray, FloatArray]:
        """See `Backend.predictions`."""
        pixels = list(zip(*(plane.reshape(-1).tolist() for plane in z), strict=True))
        classes = [prediction(p) for p in pixels]
        return np.array(classes, dtype=np.int64), np.array(
            [margin(p, c) for p, c in zip(pixels, classes, strict=True)]
        )

    def sides(self, z: FloatArray, classes: Sequence[int]) -> tuple[BoolArray, BoolArray, FloatArray]:
        """See `Backend.sides`."""
        inside = [k in classes for k in range(max(len(z), 2))]
        predicted, margins = self.predictions(z)
        ahead = [inside[k] for k in predicted.tolist()]
        if len(z) > 1:
            pixels = zip(*(plane.reshape(-1).tolist() for plane in z), strict=True)
            margins = np.array([abs(_best(p, inside, mine=True) - _best(p, inside, mine=False)) for p in pixels])
        return np.array(inside), np.array(ahead), margins

    def most(self, margins: FloatArray, profits: FloatArray, budget: Budget) -> Fraction:
        """See `Backend.most`."""
        items = sorted(zip(margins.tolist(), profits.tolist(), strict=True), key=lambda item: item[0])
        if not budget.exponent:
            return sum((Fraction(p) for d, p in items if d <= budget.scale), Fraction(0))
        priced = [(item_cost(d, budget), p) for d, p in items]
        bought = [(c, p) for c, p in priced if c <= budget.limit]
        whole = sum((Fraction(p) for _, p in bought), Fraction(0))
        if sum(c for c, _ in bought) <= budget.limit:
            return whole
        exponent = math.frexp(max(p for _, p in bought))[1]
        scaled = [(c, math.ldexp(p, -exponent)) for c, p in bought]
        scaled.sort(key=lambda item: -_worth(*item))
        breaks = bisect_right(list(accumulate(c for c, _ in scaled)), budget.limit)
        price = _worth(*scaled[min(breaks, len(scaled) - 1)])
        if math.isinf(price):
            return whole
        units = sum(math.ceil(math.ldexp(max(p - price * float(c), 0.0), GAIN_BITS)) for c, p in scaled)
        gained = Fraction(units, 2**GAIN_BITS)
        return min(whole, (Fraction(price) * budget.limit + gained) * Fraction(2) ** exponent + whole * ROUNDING)


def _worth(cost: int, profit: float) -> float:
    return profit / cost if cost else math.inf


def _best(pixel: Sequence[float], inside: Sequence[bool], *, mine: bool) -> float:
    return max(z for z, within in zip(pixel, inside, strict=True) if within is mine)


BACKEND = Reference()

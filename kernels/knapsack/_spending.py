"""Radii from ascending margins: the largest ball that cannot pay for the cheapest items, whoever adds them up."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from fractions import Fraction
from functools import partial

import numpy as np

from robspec.kernels.knapsack import BoolArray, FloatArray, IntArray
from robspec.kernels.knapsack.budget import Budget, costs, grid_bits, round_down
from robspec.kernels.knapsack.search import largest_certifying


class Spending:
    """What a fixed set of items costs at one budget after another; summed up by numpy.

    Args:
        items: ascending margins, all of which must flip.
        constant: as in `Prepared.radii`, above 0.
        norm: as there.
        pixels: pixels of the image.
        single: True for a single-logit head.
    """

    def __init__(
        self, items: FloatArray, constant: Fraction, norm: Fraction | None, pixels: int, single: bool
    ) -> None:
        self._dearest = float(items[-1])
        self._varying = items
        self._fixed = 0
        self._to_budget = partial(Budget.of, constant=constant, norm=norm, pixels=pixels, single=single)

    def certifies(self, eps: float) -> bool:
        """Tell whether a ball cannot pay for all items."""
        budget = self._to_budget(Fraction(eps))
        if not budget.exponent:
            return not self._dearest <= budget.scale
        return self._fixed + self._sum(self._varying, budget) > budget.limit

    def narrow(self, low: float, high: float) -> None:
        """Set aside the items that cost the same at both budgets, hence at all between, as costs are monotone."""
        dear, cheap = self._to_budget(Fraction(low)), self._to_budget(Fraction(high))
        if not dear.exponent:
            return
        kept, fixed = self._changing(self._varying, dear, cheap)
        if kept is not None:
            self._varying = kept
            self._fixed += fixed

    def _sum(self, items: FloatArray, budget: Budget) -> int:
        return int(costs(items, budget).sum())

    def _changing(self, items: FloatArray, dear: Budget, cheap: Budget) -> tuple[FloatArray | None, int]:
        """Keep the items whose cost differs, None where these are too many to bother; and what the others cost."""
        one = costs(items, dear)
        differ = one != costs(items, cheap)
        if np.count_nonzero(differ) > items.size // 8:
            return None, 0
        return items[differ], int(one[~differ].sum())


class Sorted(ABC):
    """Images whose cheapest margins can be had in order, and the radii that follow from them.

    Attributes:
        finite: as in `Prepared`, like the next three.
        items: as there.
        pixels: as there.
        single: as there.
        spending: who adds costs up.
    """

    finite: BoolArray
    items: IntArray
    pixels: int
    single: bool
    spending: type[Spending] = Spending

    @abstractmethod
    def _prefix(self, image: int, rank: int) -> FloatArray:
        """Give the `rank` smallest margins of an image (or more), ascending."""

    def radii(self, flips: IntArray, constant: Fraction, norm: Fraction | None) -> FloatArray:
        """See `Prepared.radii`."""
        out = np.zeros(flips.shape, dtype=np.float64)
        for i in np.flatnonzero(self.finite).tolist():
            for t, wanted in enumerate(flips[i].tolist()):
                out[i, t] = self._radius(i, wanted, constant, norm)
        return out

    def _radius(self, image: int, wanted: int, constant: Fraction, norm: Fraction | None) -> float:
        if wanted <= 0:
            return 0.0
        if wanted > self.items[image]:
            return math.inf
        cheapest = self._prefix(image, wanted)[:wanted]
        if constant == 0:
            return math.inf if cheapest[-1] > 0 else 0.0
        spending = self.spending(cheapest, constant, norm, self.pixels, self.single)
        guess = _distance(cheapest, norm, self.single, self.pixels) / max(round_down(constant), math.ulp(0.0))
        return largest_certifying(spending.certifies, guess, spending.narrow)


def _distance(cheapest: FloatArray, norm: Fraction | None, single: bool, pixels: int) -> float:
    """Guess the logits' distance at which all given items flip; only the search's speed depends on it."""
    if norm is None:
        return float(cheapest[-1]) / (1 if single else 2)
    # Rounding down takes half a unit off each item on average.
    rounding = 1 + cheapest.size / 2 ** (grid_bits(pixels) + 1)
    with np.errstate(over="ignore", under="ignore"):
        if norm == 1:
            return float(cheapest.sum() / rounding)
        return float(np.sqrt(np.dot(cheapest, cheapest) / ((1 if single else 2) * rounding)))

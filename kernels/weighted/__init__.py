"""Pixels of different worth: what an attack takes at most, in numpy and in plain Python, with the same answers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fractions import Fraction
from typing import Protocol

from robspec import registry
from robspec.kernels.knapsack import BoolArray, FloatArray, IntArray
from robspec.kernels.knapsack.budget import Budget

ROUNDING = Fraction(1, 2**36)
"""Relative slack that covers every rounding of a price, a worth and a gain."""
GAIN_BITS = 36
"""Gains are counted in units of 2^-36 of the next power of two above the largest profit, rounded up."""


class Backend(Protocol):
    """One implementation of the contract.

    Attributes:
        name: how reports and `--backend` call it.
    """

    name: str

    def predictions(self, z: FloatArray) -> tuple[IntArray, FloatArray]:
        """Predict every pixel and measure its margin.

        Args:
            z: float64 [K, H, W], finite; K = 1 is a single logit with threshold 0.

        Returns:
            Classes (first index of the maximum), and largest minus second largest logit, one subtraction; flat.
        """
        ...

    def sides(self, z: FloatArray, classes: Sequence[int]) -> tuple[BoolArray, BoolArray, FloatArray]:
        """Tell on which side of a class set every pixel is, and by what margin.

        Args:
            z: float64 [K, H, W], finite; K = 1 is a single logit with threshold 0.
            classes: the set.

        Returns:
            Which classes are inside [max(K, 2)]; whether the prediction is inside, flat; the best logit of its side
            minus the best of the other, flat: the pair bound of crossing over, not above the exact distance.
        """
        ...

    def most(self, margins: FloatArray, profits: FloatArray, budget: Budget) -> Fraction:
        """Bound from above what flipping pixels within a budget brings.

        Args:
            margins: float64 [n], n at most 2^26, of pixels whose flip brings something; infinity for out of reach.
            profits: float64 [n], positive and finite.
            budget: of the whole image.

        Returns:
            lambda B + sum_i (p_i - lambda c_i)_+ at a good price lambda, rounded up; never more than all profits.

        Source: MATH.md section 3.B.
        """
        ...


def backends() -> dict[str, Backend]:
    """Find every backend of this package by its module, importing each."""
    found: dict[str, Backend] = {}
    for module in registry.modules(sys.modules[__name__]):
        backend: Backend | None = getattr(module, "BACKEND", None)
        if backend is not None:
            found[backend.name] = backend
    return found


def beside(name: str) -> Backend:
    """Give the backend that goes with the knapsack's: plain Python for the reference, numpy for every other."""
    found = backends()
    return found.get(name, found["cpu"])


def exact_sum(values: FloatArray) -> Fraction:
    """Add doubles up without rounding."""
    total = Fraction(0)
    counts: dict[float, int] = {}
    for value in values.reshape(-1).tolist():
        counts[value] = counts.get(value, 0) + 1
    for value, count in counts.items():
        total += Fraction(value) * count
    return total

"""Gradients as integers: what one sample adds to a sum is bounded as it is computed, and sums have no order.

A sample's gradient is cut off to multiples of a step, parameter by parameter. Integers whose norm is above the limit
are brought below it, whatever made them so: rounding, or a bound that is wrong. Sums of integers are exact, so that
one sample more or less changes them by no more than the limit, in any order and beside any others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt

from robspec.privacy.normal import UNIT, Bits, rounded_normal

_EXACT = 1 + 2.0**-20
"""More than sums of squares of fewer than 2^30 doubles are off by."""
_NOTHING = 2.0**-900
"""A step where no noise is needed, as nothing a sample does can reach."""

Vector = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Grid:
    """One step and one limit for each of several parameters, whose entries lie one behind the other.

    Args:
        sizes: entries of each.
        steps: of each, > 0.
        limits: of each, the l2 norm that a sample's integers do not exceed.
    """

    sizes: tuple[int, ...]
    steps: tuple[float, ...]
    limits: tuple[int, ...]

    @classmethod
    def of(cls, sizes: Sequence[int], noise: Sequence[float], sensitivities: Sequence[float]) -> Grid:
        """Choose steps so that noise has a standard deviation of 2^32 of them.

        Args:
            sizes: entries of each parameter.
            noise: standard deviation of the noise of each, >= 0.
            sensitivities: l2 norms that samples may have; 0 beside no noise.
        """
        steps = tuple(each / UNIT if each > 0 else _NOTHING for each in noise)
        pairs = zip(steps, sensitivities, strict=True)
        return cls(tuple(sizes), steps, tuple(math.floor(Fraction(s) / Fraction(step)) for step, s in pairs))

    @property
    def multipliers(self) -> tuple[Fraction, ...]:
        """By how much noise exceeds what a sample can change of each parameter, exact; without those of limit 0."""
        return tuple(Fraction(UNIT, limit) for limit in self.limits if limit)

    def integers(self, gradient: npt.NDArray[np.floating], *, within: bool = True) -> Integers:
        """Turn the gradient of one sample into integers within the limits.

        Args:
            gradient: of all parameters, one behind the other; what is not finite counts as nothing.
            within: False for the gradient of several, which nothing limits.

        Returns:
            int64, cut off towards 0: it depends on the gradient and nothing else.
        """
        with np.errstate(over="ignore"):
            found = gradient.astype(np.float64) / self._each
        if not np.isfinite(found).all():
            found = np.where(np.isfinite(found), found, 0.0)
        found = np.trunc(found)
        if within and (self._squares(found) * _EXACT > self._most).any():
            found = self._within(found)
        return found.astype(np.int64)

    def noisy(self, summed: Integers, bits: Bits) -> Vector:
        """Add noise to a sum of integers, and bring it back to the scale of gradients.

        Args:
            summed: of samples, each by `integers`.
            bits: random bytes.

        Returns:
            float64; from here on nothing is secret.
        """
        released: Vector = (summed + rounded_normal(len(summed), bits)) * self._each
        return released

    def _within(self, found: Vector) -> Vector:
        with np.errstate(all="ignore"):
            sizes = np.sqrt(self._squares(found))
            factors = np.where(np.isfinite(sizes) & (sizes > 0), self._limits / sizes / _EXACT, 0.0)
        less = np.trunc(found * np.repeat(np.minimum(factors, 1.0), self.sizes))
        kept = self._squares(less) * _EXACT <= self._most
        return np.where(np.repeat(kept, self.sizes), less, 0.0)

    def _squares(self, found: Vector) -> Vector:
        with np.errstate(over="ignore"):
            squares: Vector = np.add.reduceat(found * found, self._starts)
        return squares

    @cached_property
    def _starts(self) -> npt.NDArray[np.intp]:
        return np.cumsum((0, *self.sizes[:-1]))

    @cached_property
    def _each(self) -> Vector:
        return np.repeat(np.array(self.steps), self.sizes)

    @cached_property
    def _limits(self) -> Vector:
        return np.array([float(limit) for limit in self.limits])

    @cached_property
    def _most(self) -> Vector:
        return np.array([math.nextafter(float(limit) ** 2, 0.0) for limit in self.limits])

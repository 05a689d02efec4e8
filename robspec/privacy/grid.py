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

from robspec.kernels.exact import _samples as samples
from robspec.privacy.normal import UNIT, Bits, rounded_normal

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

    def add(self, position: int, gradients: Vector, unit: float, total: Integers) -> None:
        """Add to a sum what the gradients of samples in one parameter become: each within the limit.

        Args:
            position: of the parameter.
            gradients: float64 [B, n], of samples, each a function of that sample.
            unit: what one of them is.
            total: int64 [n].
        """
        limit = float(self.limits[position])
        samples.add(gradients, unit / self.steps[position], limit, self._most[position], total)

    def noisy(self, summed: Integers, bits: Bits) -> Vector:
        """Add noise to a sum of integers, and bring it back to the scale of gradients.

        Args:
            summed: of what samples became, by `add`.
            bits: random bytes.

        Returns:
            float64; from here on nothing is secret.
        """
        return self.decoded(summed + rounded_normal(len(summed), bits))

    def decoded(self, whole: Integers) -> Vector:
        """Bring integers back to the scale of gradients.

        Args:
            whole: int64, of all parameters, one behind the other.

        Returns:
            float64.
        """
        found: Vector = whole * self._each
        return found

    @cached_property
    def _each(self) -> Vector:
        return np.repeat(np.array(self.steps), self.sizes)

    @cached_property
    def _most(self) -> tuple[float, ...]:
        return tuple(math.nextafter(float(limit) ** 2, 0.0) for limit in self.limits)

"""Randomised smoothing: what is sampled, and what a test of the samples certifies."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2, decimal_text
from robspec.semantics.normal import phi_up, quantile_down

SELECTION = 10
"""Samples by which a class is chosen where a specification says nothing."""


@dataclass(frozen=True, slots=True)
class Smoothing:
    """A model under Gaussian noise: each pixel's class, or whether a score fires, is what is most often found.

    Args:
        sigma: standard deviation of the noise, in units of the declared input.
        samples: n, with which the frequency of a pixel's class is tested.
        selection: further samples before them, by which that class is chosen.
        alpha: probability with which anything claimed of a data set may be wrong.
        tau: the frequency that is tested; None for the one that the budget asks for.
        fires: of a detector, between which two numbers its threshold lies as computed: each score decides by itself
            whether it fires, from the second on, or does not, below the first. None where classes are voted for.
    """

    sigma: Fraction
    samples: int
    selection: int
    alpha: Fraction
    tau: Fraction | None = None
    fires: tuple[float, float] | None = None

    def frequency(self, budget: Fraction) -> Fraction | None:
        """Say how frequent a class has to be so that no l2 attack of this size makes another more frequent.

        Args:
            budget: eps, at least 0.

        Returns:
            `tau`, or Phi(eps / sigma), rounded up, below 1; None where the attack is too large for it.

        Source: Cohen, Rosenfeld and Kolter 2019, theorem 1; Fischer, Baader and Vechev 2021 for each pixel.
        """
        needed = phi_up(budget / self.sigma)
        if self.tau is not None and needed <= self.tau:
            return self.tau
        return needed if self.tau is None and needed < 1 else None

    def radius(self, frequency: Fraction) -> Fraction:
        """Say up to which l2 distance a class of this frequency stays the most frequent one, rounded down."""
        return self.sigma * quantile_down(frequency)

    @property
    def standing(self) -> Constant:
        """What verdicts stand on in the place of a constant of the model."""
        chance = decimal_text(1 - self.alpha)
        return Constant(Fraction(1), L2, L2, ConstantStatus.SAMPLED, f"smoothing, {self.text}", chance=chance)

    @property
    def text(self) -> str:
        """The settings, in words."""
        tau = "" if self.tau is None else f", tau {decimal_text(self.tau)}"
        return f"sigma {decimal_text(self.sigma)}, {self.samples} samples, alpha {decimal_text(self.alpha)}{tau}"

"""Bounds of families that have no closed form, decided by what they say within a budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction

from robspec.ir.types import Degraded, Metric
from robspec.recheck.budget import budget_of, widened
from robspec.recheck.claims import Unmoved
from robspec.semantics.constant import Constant


class Relaxed(ABC):
    """A relaxed bound on one image."""

    metric: Metric
    clean: Fraction | None
    q: int | None
    pixels: int

    @abstractmethod
    def worst(self, budget: Fraction | None) -> Fraction:
        """The bound within a budget, exactly; None for everything flipped."""

    def budgets(self, eps: Fraction, constant: Constant) -> tuple[Fraction, Fraction]:
        """What an attack may spend, and the same enlarged by what rounding can add."""
        budget = budget_of(eps, constant)
        return budget, widened(budget, self.pixels)

    def meets(self, objective: Degraded, reached: Fraction) -> bool:
        """Whether a value meets an objective."""
        if self.clean is None:
            raise ValueError("undefined")
        gamma = objective.threshold.at(self.clean)
        if self.metric.lower_is_better:
            reached, gamma = -reached, -gamma
        return reached < gamma if objective.strict else reached <= gamma

    def settled(self, objective: Degraded, constant: Constant) -> str | Unmoved | None:
        """The radius where it takes no search: "0", "inf", or None where it does."""
        if self.clean is None:
            raise ValueError("undefined")
        if self.meets(objective, self.clean):
            return "0"
        if constant.value == 0:
            return "0" if self.meets(objective, self.worst(Fraction(0))) else Unmoved()
        return None if self.meets(objective, self.worst(None)) else "inf"

"""Bounds of families that have no closed form, decided by what they say within a budget."""

from __future__ import annotations

from abc import ABC, abstractmethod
from fractions import Fraction
from typing import Any

from robspec.ir.types import Degraded, Metric
from robspec.oracle.scene import Scene
from robspec.recheck.budget import budget_of, widened
from robspec.recheck.claims import Claim, Unmoved, Within
from robspec.recheck.conditions import meets
from robspec.semantics.constant import Constant


class Relaxed(ABC):
    """A relaxed bound on one image.

    Args:
        metric: of the family.
        scene: the image.
    """

    clean: Fraction | None

    def __init__(self, metric: Metric, scene: Scene) -> None:
        self.metric, self.q, self.pixels = metric, scene.q, len(scene)

    @property
    @abstractmethod
    def digests(self) -> tuple[str, ...]:
        """SHA-256 of what the flips of each part cost, written exactly."""

    @abstractmethod
    def worst(self, budget: Fraction | None) -> Fraction:
        """The bound within a budget, exactly; None for everything flipped."""

    @abstractmethod
    def point(self, eps: Fraction, constant: Constant) -> dict[str, Any] | Claim:
        """What holds within a budget."""

    def loosest(self, budget: Fraction) -> Fraction:
        """No better than a bound in doubles within a smaller budget."""
        return self.worst(budget)

    def reach(self, objective: Degraded, constant: Constant) -> dict[str, Any] | Claim:
        """What holds of a radius."""
        if self.clean is None:
            return {"certified": None}
        settled = self._settled(objective, self.clean, constant)
        return {"certified": settled} if settled else self._sought(objective, self.clean, constant)

    def budgets(self, eps: Fraction, constant: Constant) -> tuple[Fraction, Fraction]:
        """What an attack may spend, and the same enlarged by what rounding can add."""
        budget = budget_of(eps, constant)
        return budget, widened(budget, self.pixels)

    def _settled(self, objective: Degraded, clean: Fraction, constant: Constant) -> str | Unmoved | None:
        """The radius where it takes no search: "0", "inf", or None where it does."""
        if meets(objective, clean, clean):
            return "0"
        if constant.value == 0:
            return "0" if meets(objective, clean, self.worst(Fraction(0))) else Unmoved()
        return None if meets(objective, clean, self.worst(None)) else "inf"

    def _sought(self, objective: Degraded, clean: Fraction, constant: Constant) -> dict[str, Any] | Claim:
        claim = Within(
            lambda eps: meets(objective, clean, self.worst(self.budgets(eps, constant)[0])),
            lambda eps: meets(objective, clean, self.loosest(self.budgets(eps, constant)[1])),
            "the largest double within which the relaxed value cannot be brought to the objective",
        )
        return {"certified": claim}

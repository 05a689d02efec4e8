"""Radii of families without a closed form: bisection over the doubles, answered by the budget query itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import TypeAlias

from robspec.ir.types import Metric
from robspec.kernels.knapsack.search import largest_certifying

Found: TypeAlias = Fraction | float | None
"""A radius: an exact rational, math.inf, or None where the metric is undefined."""


def meets(metric: Metric, value: Fraction, gamma: Fraction, *, strict: bool) -> bool:
    """Decide whether a value satisfies the degradation objective `<= gamma` (`>=` where lower is better)."""
    if metric.lower_is_better:
        value, gamma = -value, -gamma
    return value < gamma if strict else value <= gamma


def radius(
    metric: Metric,
    clean: Fraction,
    hopeless: Fraction,
    gamma: Fraction,
    worst: Callable[[Fraction], Fraction],
    *,
    strict: bool,
    guess: float = 1.0,
) -> Fraction | float:
    """Find the largest budget that certifies the objective is not met.

    Args:
        metric: the metric.
        clean: its clean value.
        hopeless: a bound on its value under an attack of any size.
        gamma: the threshold.
        worst: bound on the value within a budget, never better than the truth.
        strict: whether the objective is strict.
        guess: where the search starts.

    Returns:
        0 where the clean value meets the objective, math.inf where no attack does, else a double as a rational.

    Source: MATH.md sections 3 and 6.
    """
    if meets(metric, clean, gamma, strict=strict):
        return Fraction(0)
    if not meets(metric, hopeless, gamma, strict=strict):
        return math.inf
    found = largest_certifying(lambda eps: not meets(metric, worst(Fraction(eps)), gamma, strict=strict), guess)
    return Fraction(found)

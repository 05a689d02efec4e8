"""Radii of families without a closed form: bisection over the doubles, answered by the budget query itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from typing import TypeAlias, TypeVar

from robspec.ir.types import Metric
from robspec.kernels.knapsack.search import largest_certifying
from robspec.semantics.constant import Constant

Found: TypeAlias = Fraction | float | None
"""A radius: an exact rational, math.inf, or None where the metric is undefined."""


_Image = TypeVar("_Image")


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


def coarse_radius(
    metric: Metric,
    clean: Fraction,
    hopeless: Fraction,
    gamma: Fraction,
    worst: Callable[[Fraction], Fraction],
    *,
    strict: bool,
) -> Fraction | float:
    """Find a budget that certifies as `radius` does, short of the largest one by at most one part in 2^20.

    It is for bounds that are looked for anew at every budget, where each question costs time.

    Args:
        metric: the metric.
        clean: its clean value.
        hopeless: a bound on its value under an attack of any size.
        gamma: the threshold.
        worst: bound on the value within a budget, never better than the truth.
        strict: whether the objective is strict.
    """
    if meets(metric, clean, gamma, strict=strict):
        return Fraction(0)
    if not meets(metric, hopeless, gamma, strict=strict):
        return math.inf

    def certifies(eps: Fraction) -> bool:
        return not meets(metric, worst(eps), gamma, strict=strict)

    low, high = Fraction(0), Fraction(1)
    while certifies(high):
        if high >= _FARTHEST:
            return high
        low, high = high, 4 * high
    while not low and high > 1 / _FARTHEST:
        if certifies(high / 4):
            low = high / 4
        else:
            high /= 4
    while low and high - low > low / 2**20:
        middle = (low + high) / 2
        low, high = (middle, high) if certifies(middle) else (low, middle)
    return low


_FARTHEST = Fraction(2) ** 40


def radii(
    metric: Metric,
    constant: Constant,
    images: Sequence[_Image | None],
    gammas: Sequence[Sequence[Fraction | None]],
    *,
    clean: Callable[[_Image], Fraction | None],
    hopeless: Callable[[_Image], Fraction],
    worst: Callable[[_Image, Fraction], Fraction],
    strict: bool,
) -> list[tuple[Found, ...]]:
    """Find the radius of every image for each of its thresholds.

    Args:
        metric: the metric.
        constant: Lipschitz constant for the attack's norm; where it is 0 no attack moves anything but ties.
        images: None where the metric is undefined.
        gammas: per image, its thresholds, None where there is none.
        clean: an image's clean value.
        hopeless: a bound on its value under an attack of any size.
        worst: bound on its value within a budget.
        strict: whether the objective is strict.

    Returns:
        Per image and threshold as `radius`; None where the metric or the threshold is undefined.
    """
    found: list[tuple[Found, ...]] = []
    for image, row in zip(images, gammas, strict=True):
        value = None if image is None else clean(image)
        if image is None or value is None:
            found.append((None,) * len(row))
            continue
        query = partial(worst, image)
        last = hopeless(image) if constant.value else query(Fraction(1))
        found.append(tuple(None if g is None else radius(metric, value, last, g, query, strict=strict) for g in row))
    return found

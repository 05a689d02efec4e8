"""What is true of a tiny image, by exact rational arithmetic and enumeration; shares nothing with the kernels."""

from __future__ import annotations

import itertools
from fractions import Fraction


def predict(pixel: list[float]) -> int:
    """First index of the maximum; one logit means class 1 where it is above 0."""
    if len(pixel) == 1:
        return 1 if pixel[0] > 0 else 0
    best = 0
    for j, z in enumerate(pixel):
        if z > pixel[best]:
            best = j
    return best


def exact_cost(pixel: list[float], own: int, q: int | None) -> Fraction:
    """Least ||a||_q^q (||a||_inf for q None) after which another class is at least as large as `own`."""
    if len(pixel) == 1:
        gap = abs(Fraction(pixel[0]))
        return gap if q in (1, None) else gap**2
    gap = Fraction(pixel[own]) - max(Fraction(z) for j, z in enumerate(pixel) if j != own)
    if q == 1:
        return gap
    return gap / 2 if q is None else gap**2 / 2


def most_flips(costs: list[Fraction], reach: Fraction, q: int | None) -> int:
    """Largest number of items one attack of norm `reach` can flip, by trying every subset."""
    best = 0
    for size in range(len(costs) + 1):
        for subset in itertools.combinations(costs, size):
            spent = max(subset, default=Fraction(0)) if q is None else sum(subset, Fraction(0))
            allowed = reach if q is None else reach**q
            if spent <= allowed:
                best = max(best, size)
    return best

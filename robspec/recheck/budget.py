"""What an attack may spend, exactly, and what rounding every cost down can add to it (MATH.md section 6)."""

from __future__ import annotations

from fractions import Fraction

from robspec.semantics.constant import Constant

FINEST = Fraction(1, 2**960)
"""Smaller budgets than this are enlarged to it."""


def budget_of(eps: Fraction, constant: Constant) -> Fraction:
    """What an attack may spend: (L eps + delta)^q, or L eps + delta at each pixel for infinity; delta is rounding."""
    reach = eps * constant.value + constant.rounding
    q = exponent(constant)
    return reach if q is None else reach**q


def grid_bits(pixels: int) -> int:
    """The grid costs are rounded down to: 2^-bits of the budget (MATH.md section 6)."""
    return 40 if pixels <= 2**22 else 62 - (pixels - 1).bit_length()


def widened(budget: Fraction, pixels: int) -> Fraction:
    """A budget enlarged by what rounding every cost down can take away; the squares of tiny margins round to 0.

    Part of it is left for delta / L, which a check rounds up to a double before it is added to a budget.
    """
    return max(budget, FINEST) * (1 + Fraction(pixels + 8, 2 ** grid_bits(pixels)))


def exponent(constant: Constant) -> int | None:
    """The exponent of the norm on the logits, None for infinity."""
    p = constant.output_norm.p
    return None if p is None else int(p)

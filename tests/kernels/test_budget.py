"""The conversion of a real budget into grid units rounds in the attacker's favour (MATH.md section 6)."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robspec.kernels.knapsack.budget import Budget, grid_bits, round_down, round_up

RATIONALS = st.fractions(min_value=0, max_value=10**6)


@given(RATIONALS)
def test_directed_rounding_brackets_the_value(x: Fraction) -> None:
    down, up = round_down(x), round_up(x)
    assert Fraction(down) <= x <= Fraction(up)
    assert up in (down, math.nextafter(down, math.inf))


def test_rounding_survives_overflow_and_underflow() -> None:
    assert round_down(Fraction(10) ** 400) == math.nextafter(math.inf, 0.0)
    assert round_up(Fraction(10) ** 400) == math.inf
    assert round_down(Fraction(1, 10**400)) == 0.0
    assert round_up(Fraction(1, 10**400)) == math.ulp(0.0)


@given(st.integers(1, 2**39))
def test_a_sum_over_every_pixel_fits_63_bits(pixels: int) -> None:
    limit = 2 ** grid_bits(pixels)
    assert pixels * (limit + 1) < 2**63
    assert pixels > 2**22 or limit == 2**40


def test_2_to_40_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="out of range"):
        grid_bits(2**40)


@given(
    RATIONALS.filter(lambda x: x > 0),
    st.fractions(min_value=Fraction(1, 1000), max_value=50),
    st.sampled_from([1, 2]),
    st.booleans(),
)
def test_scale_never_overstates_a_cost(eps: Fraction, constant: Fraction, q: int, single: bool) -> None:
    budget = Budget.of(eps, constant, Fraction(q), 100, single=single)
    factor = 1 if single else Fraction(2) ** (1 - q)
    exact = budget.limit * factor / (eps * constant) ** q
    assert Fraction(budget.scale) <= exact * (1 - Fraction(1, 2**45))
    assert Fraction(budget.scale) >= exact * (1 - Fraction(1, 2**44))


def test_the_constant_is_squared_with_the_budget() -> None:
    """A squared margin divided by L instead of L^2 is unsound for L > 1 (PEERS.md, 1)."""
    one = Budget.of(Fraction(1), Fraction(1), Fraction(2), 4, single=False)
    four = Budget.of(Fraction(1), Fraction(4), Fraction(2), 4, single=False)
    assert one.scale == pytest.approx(16 * four.scale, rel=1e-14)
    assert Budget.of(Fraction(4), Fraction(1), Fraction(2), 4, single=False) == four


def test_zero_budget_and_tiny_budget() -> None:
    assert Budget.of(Fraction(0), Fraction(1), Fraction(2), 4, single=False) == Budget(0, 0.0, 0)
    tiny = Budget.of(Fraction(1, 10**300), Fraction(1), Fraction(2), 4, single=False)
    smallest = Budget.of(Fraction(1, 2**480), Fraction(1), Fraction(2), 4, single=False)
    assert tiny == smallest


def test_negative_inputs_and_other_norms_are_refused() -> None:
    for eps, constant, q in [(-1, 1, 2), (1, -1, 2), (1, 1, 3)]:
        with pytest.raises(ValueError, match=r"negative|no kernel"):
            Budget.of(Fraction(eps), Fraction(constant), Fraction(q), 4, single=False)

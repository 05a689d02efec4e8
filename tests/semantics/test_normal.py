"""The normal distribution and binomial tails, on the safe side of what fifty digits say."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath
import pytest

from robspec.semantics.binomial import probability_down, tails_up
from robspec.semantics.normal import phi_up, quantile_down

F = Fraction


def phi(x: Fraction) -> Fraction:
    """To sixty digits."""
    with mpmath.workdps(80):
        value = mpmath.ncdf(mpmath.mpf(x.numerator) / x.denominator)
        return F(int(value * mpmath.mpf(10) ** 60), 10**60)


@pytest.mark.parametrize("x", [F(k, 7) for k in range(0, 85, 3)] + [F(1, 10**9), F(12), F(10, 3)])
def test_above_the_distribution_function_and_near(x: Fraction) -> None:
    found = phi_up(x)
    assert phi(x) <= found <= phi(x) + F(1, 2**62)


def test_the_ends() -> None:
    assert phi_up(F(0)) == phi_up(F(-3)) == F(1, 2)
    assert phi_up(F(12001, 1000)) == 1
    assert quantile_down(F(1, 2)) == quantile_down(F(1, 4)) == 0


@pytest.mark.parametrize("p", [F(51, 100), F(3, 4), F(99, 100), 1 - F(1, 10**12)])
def test_below_the_quantile_and_near(p: Fraction) -> None:
    found = quantile_down(p)
    assert phi(found) <= p
    assert phi(found + F(1, 2**38)) > p


@pytest.mark.parametrize(("trials", "p"), [(1, F(1, 3)), (7, F(1, 2)), (40, F(9, 10)), (200, F(3, 4))])
def test_tails_are_above_the_exact_ones_and_near(trials: int, p: Fraction) -> None:
    found = tails_up(trials, p)
    assert len(found) == trials + 1
    for k, above in enumerate(found):
        exact = sum((F(math.comb(trials, j)) * p**j * (1 - p) ** (trials - j) for j in range(k, trials + 1)), F(0))
        assert exact <= above <= exact * (1 + F(trials, 2**50))


def test_tiny_tails_do_not_become_nothing() -> None:
    assert 0 < tails_up(5000, F(1, 2))[5000] <= F(1, 2**999)


@pytest.mark.parametrize(("hits", "trials"), [(1, 1), (5, 10), (100, 100), (99, 100), (700, 1000), (0, 50)])
@pytest.mark.parametrize("alpha", [F(1, 20), F(1, 10**9)])
def test_a_probability_is_bounded_from_below(hits: int, trials: int, alpha: Fraction) -> None:
    found = probability_down(hits, trials, alpha)

    def tail(p: Fraction) -> Fraction:
        # From whole numbers over one divisor: the sum of fractions is slow.
        a, b = p.numerator, p.denominator
        whole = sum(math.comb(trials, j) * a**j * (b - a) ** (trials - j) for j in range(hits, trials + 1))
        return F(whole, b**trials)

    if hits == 0:
        assert found == 0
        return
    assert tail(found) <= alpha
    near = found * (1 + F(1, 2**15))
    assert near >= 1 or tail(F(math.ceil(near * 2**40), 2**40)) > alpha

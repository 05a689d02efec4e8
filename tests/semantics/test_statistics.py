"""Confidence statements against scipy-free oracles: enumeration of outcomes and high-precision logarithms."""

from __future__ import annotations

import itertools
from fractions import Fraction

import mpmath
from hypothesis import given
from hypothesis import strategies as st

from robspec.semantics.statistics import fraction_is_claimed, mean_margin


@given(st.integers(1, 9), st.data())
def test_fraction_claim_is_the_exact_binomial_tail(trials: int, data: st.DataObject) -> None:
    """A fraction p is claimed when P(Bin(n, p) >= x) <= 1 - confidence."""
    successes = data.draw(st.integers(0, trials))
    p = data.draw(st.fractions(Fraction(1, 20), Fraction(19, 20), max_denominator=20))
    confidence = data.draw(st.fractions(Fraction(1, 20), Fraction(19, 20), max_denominator=100))
    tail = Fraction(0)
    for outcome in itertools.product((0, 1), repeat=trials):
        hits = sum(outcome)
        if hits >= successes:
            tail += p**hits * (1 - p) ** (trials - hits)
    assert fraction_is_claimed(successes, trials, p, confidence) == (successes > 0 and tail <= 1 - confidence)


def test_no_image_claims_nothing() -> None:
    assert not fraction_is_claimed(0, 0, Fraction(1, 2), Fraction(1, 2))


def test_known_value() -> None:
    """0.95^n <= 0.01 first at n = 90: ninety successes out of ninety claim 95 % with confidence 99 %."""
    assert not fraction_is_claimed(89, 89, Fraction(95, 100), Fraction(99, 100))
    assert fraction_is_claimed(90, 90, Fraction(95, 100), Fraction(99, 100))
    assert not fraction_is_claimed(89, 90, Fraction(95, 100), Fraction(99, 100))


@given(st.integers(1, 10**6), st.fractions(Fraction(1, 1000), Fraction(999, 1000), max_denominator=1000))
def test_mean_margin_is_hoeffding_rounded_up(trials: int, confidence: Fraction) -> None:
    with mpmath.workdps(80):
        alpha = 1 - mpmath.mpf(confidence.numerator) / confidence.denominator
        truth = mpmath.sqrt(-mpmath.log(alpha) / (2 * trials))
        margin = mean_margin(trials, confidence)
        got = mpmath.mpf(margin.numerator) / margin.denominator
        assert truth <= got <= truth * (1 + mpmath.mpf(10) ** -40)

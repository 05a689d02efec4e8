"""Exact quotients of polynomials in the counts of one class."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robspec.semantics.formula import (
    MAX_DEGREE,
    FormulaTooLarge,
    Polynomial,
    Ratio,
    factors,
    polynomial_text,
    ratio_text,
    reduced,
)

exponents = st.tuples(*[st.integers(0, 2)] * 4).filter(lambda e: sum(e) <= MAX_DEGREE // 4)
polynomials = st.dictionaries(exponents, st.integers(-5, 5), max_size=4).map(Polynomial.of)
divisors = polynomials.filter(bool)
counts = st.tuples(*[st.integers(0, 9)] * 4)
TP, FP, FN, TN = (Polynomial.count(name) for name in ("TP", "FP", "FN", "TN"))


@given(polynomials, polynomials, counts)
def test_arithmetic_is_that_of_the_values(left: Polynomial, right: Polynomial, at: tuple[int, int, int, int]) -> None:
    assert (left + right).at(*at) == left.at(*at) + right.at(*at)
    assert (left - right).at(*at) == left.at(*at) - right.at(*at)
    assert (left * right).at(*at) == left.at(*at) * right.at(*at)


@given(polynomials, counts)
def test_the_complement_swaps_the_roles(polynomial: Polynomial, at: tuple[int, int, int, int]) -> None:
    assert polynomial.complemented().at(*at) == polynomial.at(*reversed(at))
    assert polynomial.complemented().complemented() == polynomial


@given(divisors, counts)
def test_factors_multiply_to_the_polynomial(polynomial: Polynomial, at: tuple[int, int, int, int]) -> None:
    constant, found = factors(polynomial)
    value = constant
    for factor, times in found:
        value *= factor.at(*at) ** times
    assert value == polynomial.at(*at)


@given(polynomials, divisors, divisors, counts)
def test_lowest_terms_keep_the_value_and_are_unique(
    above: Polynomial, below: Polynomial, common: Polynomial, at: tuple[int, int, int, int]
) -> None:
    found = reduced(above, below)
    if below.at(*at) != 0:
        assert found.at(*at) == Fraction(above.at(*at), below.at(*at))
    assert reduced(above * common, below * common) == found
    assert reduced(-above, -below) == found
    assert reduced(found.numerator, found.denominator) == found


@given(polynomials, divisors, polynomials, divisors, counts)
def test_quotients_calculate_exactly(
    a: Polynomial, b: Polynomial, c: Polynomial, d: Polynomial, at: tuple[int, int, int, int]
) -> None:
    left, right = reduced(a, b), reduced(c, d)
    x, y = left.at(*at), right.at(*at)
    if x is None or y is None:
        return
    assert (left + right).at(*at) == x + y
    assert (left * right).at(*at) == x * y
    if y != 0:
        assert (left / right).at(*at) == x / y


def test_derivatives() -> None:
    square = (TP + FN) * (TP + FN)
    assert square.derivative("TP") == (TP + FN) * Polynomial.constant(2)
    assert square.derivative("FP") == Polynomial()


def test_a_value_over_zero_is_none() -> None:
    precision = Ratio(TP, TP + FP)
    assert precision.at(0, 0, 3, 1) is None
    assert precision.at(1, 2, 0, 0) == Fraction(1, 3)
    with pytest.raises(ZeroDivisionError):
        Ratio(TP, TP - TP)


@pytest.mark.parametrize(
    "terms", [(((1, 0, 0, 0), 0),), (((1, 0, 0, 0), 1), ((0, 0, 0, 0), 1)), (((-1, 0, 0, 0), 1),)]
)
def test_only_the_normal_form_is_a_polynomial(terms: tuple[tuple[tuple[int, int, int, int], int], ...]) -> None:
    with pytest.raises(ValueError, match="sorted"):
        Polynomial(terms)


def test_degrees_have_a_limit() -> None:
    power = Polynomial.of({(MAX_DEGREE, 0, 0, 0): 1})
    with pytest.raises(FormulaTooLarge):
        power * TP


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [
        (Ratio(TP, TP + FP + FN), "TP[k] / (TP[k] + FP[k] + FN[k])"),
        (Ratio(TP * TP - FN, Polynomial.constant(3)), "(TP[k] * TP[k] - FN[k]) / 3"),
        (Ratio(-TP, TP * FP), "-TP[k] / (TP[k] * FP[k])"),
        (Ratio(TP + Polynomial.constant(2), Polynomial.constant(1)), "TP[k] + 2"),
        (Ratio.constant(Fraction(0)), "0"),
    ],
)
def test_texts(ratio: Ratio, shown: str) -> None:
    assert ratio_text(ratio, "[k]") == shown
    assert polynomial_text(ratio.numerator) in shown.replace("[k]", "")

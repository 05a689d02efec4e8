"""Norm conversion, exact text and relations."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robspec.semantics.constant import Constant, ConstantStatus, power_up
from robspec.semantics.norm import L1, L2, LINF, Norm, decimal_text, directed_text, exact_text
from robspec.semantics.relation import Relation


def proved(value: Fraction, p: Norm, q: Norm) -> Constant:
    return Constant(value, p, q, ConstantStatus.PROVED)


def test_linf_question_pays_the_square_root_of_the_dimension() -> None:
    """l_inf to l_2 on 3x256x256: 443 (MATH.md section 5)."""
    constant = proved(Fraction(1), L2, L2).for_input_norm(LINF, 3 * 256 * 256)
    assert constant.value**2 >= 3 * 256 * 256
    assert float(constant.value) == pytest.approx(443.405, abs=1e-3)
    assert "196608 inputs" in constant.note
    assert constant.input_norm == LINF


def test_l1_question_pays_nothing() -> None:
    assert proved(Fraction(3), L2, L2).for_input_norm(L1, 1000).value == 3
    assert proved(Fraction(3), LINF, L2).for_input_norm(L2, 1000).value == 3


@given(st.integers(1, 10**6), st.fractions(0, 1, max_denominator=12))
def test_powers_are_rounded_up(base: int, exponent: Fraction) -> None:
    value = power_up(base, exponent)
    assert value**exponent.denominator >= base**exponent.numerator
    assert float(value) == pytest.approx(base ** float(exponent), rel=1e-12)


@given(st.fractions())
def test_decimal_text_is_exact(value: Fraction) -> None:
    assert Fraction(decimal_text(value)) == value


@given(st.fractions(), st.integers(0, 6), st.booleans())
def test_directed_text_is_on_the_stated_side(value: Fraction, places: int, up: bool) -> None:
    shown = Fraction(directed_text(value, places, up=up))
    assert (shown >= value) if up else (shown <= value)
    assert abs(shown - value) < Fraction(1, 10**places)


def test_an_assumed_constant_qualifies_the_verdict() -> None:
    constant = Constant(Fraction("1.000020123456789"), L2, L2, ConstantStatus.ASSUMED)
    assert constant.qualifier == ", assuming L <= 1.000020124 (not proved)"
    assert proved(Fraction(1), L2, L2).qualifier == ""


def test_strict_and_non_strict_stay_apart() -> None:
    half = Fraction(1, 2)
    assert [r.holds(half, half) for r in (Relation.LE, Relation.LT, Relation.GE, Relation.GT)] == [1, 0, 1, 0]
    assert {r.flipped.flipped for r in Relation} == set(Relation)


def test_norm_names() -> None:
    assert [n.name for n in (L1, L2, LINF, Norm(Fraction(3, 2)), Norm(Fraction(3)))] == [
        "l1",
        "l2",
        "linf",
        "l(1.5)",
        "l(3)",
    ]
    with pytest.raises(ValueError, match="p >= 1"):
        Norm(Fraction(1, 2))


@given(st.fractions())
def test_exact_text_is_that_of_the_rational(value: Fraction) -> None:
    assert exact_text(value) == str(value)


def test_exact_text_has_no_longest_number() -> None:
    """The mean over some hundreds of images has more digits than Python writes down unasked."""
    long = Fraction(10**6000 + 1, 3 * 10**5000)
    assert exact_text(long) == f"1{'0' * 5999}1/3{'0' * 5000}"
    assert exact_text(-Fraction(10**6000)) == f"-1{'0' * 6000}"
    assert exact_text(float("inf")) == "inf"

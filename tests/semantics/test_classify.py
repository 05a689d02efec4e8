"""What is claimed of a formula holds for all small counts, decided by enumeration."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robspec.semantics.classify import (
    Classified,
    Counts,
    Flip,
    NotMonotone,
    Outcome,
    P,
    Proof,
    Q,
    Undefinable,
    Unmoved,
    _slope,
    after,
    classify,
    moved,
)
from robspec.semantics.formula import Polynomial, Ratio, reduced
from tests.examples import examples

SIDE = 4
ALL: list[Counts] = [(a, b, c, d) for a, b, c, d in itertools.product(range(SIDE), repeat=4) if a + b + c + d]
TP, FP, FN, TN = (Polynomial.count(name) for name in ("TP", "FP", "FN", "TN"))
N = Polynomial.count("TP", "FP", "FN", "TN")

linear = st.lists(st.integers(-1, 3), min_size=4, max_size=4).map(
    lambda c: sum((Polynomial.constant(x) * p for x, p in zip(c, (TP, FP, FN, TN), strict=True)), Polynomial())
)
natural = st.lists(st.integers(0, 3), min_size=4, max_size=4).map(
    lambda c: sum((Polynomial.constant(x) * p for x, p in zip(c, (TP, FP, FN, TN), strict=True)), Polynomial())
)
numerators = st.one_of(linear, st.tuples(linear, natural).map(lambda p: p[0] * p[1]))
denominators = st.one_of(
    natural,
    st.sampled_from([P, Q, N, P * Q, TP + FP, TP + FP + FN, N * N]),
    st.tuples(natural, natural).map(lambda p: p[0] * p[1]),
).filter(bool)
ratios = st.builds(reduced, numerators, denominators)


def attacked(start: Counts) -> Iterator[Counts]:
    tp, fp, fn, tn = start
    for a, b in itertools.product(range(tp + 1), range(tn + 1)):
        yield tp - a, fp + b, fn + a, tn - b


def value(found: Classified, at: Counts, *, lower: bool) -> Fraction | None:
    plain = found.ratio.at(*at)
    return (found.high if lower else found.low) if plain is None else plain


def defined(found: Classified, at: Counts) -> bool:
    return found.defined is None or found.defined.at(*at) != 0


def worse(old: Fraction, new: Fraction, *, lower: bool) -> bool:
    return new >= old if lower else new <= old


def check(ratio: Ratio, outcome: Outcome, *, lower: bool) -> None:
    """Compare every claim with the truth."""
    if isinstance(outcome, Unmoved):
        for at in ALL:
            assert len({ratio.at(*n) for n in attacked(at)}) == 1
    elif isinstance(outcome, NotMonotone):
        if outcome.example is not None:
            before, following = outcome.example
            assert after(before, outcome.move) == following
            assert outcome.values == (ratio.at(*before), ratio.at(*following))
            assert outcome.values is not None
            assert not worse(*outcome.values, lower=lower)
    elif isinstance(outcome, Undefinable):
        if outcome.counts is not None:
            assert ratio.denominator.at(*outcome.counts) <= 0
            assert (ratio.denominator.at(*outcome.counts) == 0) is outcome.zero
    else:
        for at in ALL:
            holds(outcome, at, lower=lower)


def holds(found: Classified, at: Counts, *, lower: bool) -> None:
    """The claims at one place."""
    if not defined(found, at):
        return
    if not found.worst_when_undefined:
        assert found.ratio.denominator.at(*at) > 0
    here = value(found, at, lower=lower)
    assert here is not None
    assert found.low is None or here >= found.low
    assert found.high is None or here <= found.high
    for move in ("a", "b"):
        following = after(at, move)
        if following is not None:
            assert defined(found, following), "an attack decides what is defined"
            there = value(found, following, lower=lower)
            assert there is not None
            assert worse(here, there, lower=lower)
            if found.flips is not None and move != {Flip.LEAVE: "a", Flip.ENTER: "b"}[found.flips]:
                assert here == there
            again = after(following, move)
            if found.flips is not None and again is not None:
                assert value(found, again, lower=lower) == 2 * there - here


class TestClaims:
    """MATH.md 3.C: if phi is non-increasing in a and in b, only the most b for each a matters; it is proved."""

    @settings(max_examples=examples(150), deadline=None)
    @given(ratios, st.booleans())
    def test_random_formulas(self, ratio: Ratio, lower: bool) -> None:
        check(ratio, classify(ratio, lower_is_better=lower), lower=lower)

    @settings(max_examples=examples(100), deadline=None)
    @given(st.lists(st.integers(0, 4), min_size=6, max_size=6), st.sampled_from([Polynomial(), P, Q, N]))
    def test_formulas_of_the_provable_kind(self, c: list[int], fixed: Polynomial) -> None:
        """(x TP + y TN) over a sum that misses count in: classified whenever the divisor cannot vanish."""
        above = Polynomial.of({(1, 0, 0, 0): c[0], (0, 0, 0, 1): c[1]})
        misses = Polynomial.of({(0, 1, 0, 0): c[2], (0, 0, 1, 0): c[3], (1, 0, 0, 0): c[0], (0, 0, 0, 1): c[1]})
        below = misses + fixed * Polynomial.constant(c[4]) + N * Polynomial.constant(c[5])
        if above and below:
            outcome = classify(reduced(above, below), lower_is_better=False)
            assert not isinstance(outcome, NotMonotone)
            check(reduced(above, below), outcome, lower=False)

    @pytest.mark.parametrize(
        ("ratio", "lower", "flips", "needed", "worst"),
        [
            (Ratio(TP, P), False, Flip.LEAVE, P, False),
            (Ratio(FN, P), True, Flip.LEAVE, P, False),
            (Ratio(TN, Q), False, Flip.ENTER, Q, False),
            (Ratio(FP, Q), True, Flip.ENTER, Q, False),
            (Ratio(TP, N), False, Flip.LEAVE, None, False),
            (Ratio(TP + TN, N), False, None, None, False),
            (Ratio(TP, TP + FP + FN), False, None, P, False),
            (Ratio(TP, TP + FP), False, None, P, True),
            (Ratio(FP, TP + FP), True, None, P, True),
            (Ratio(TN, TN + FN), False, None, Q, True),
            (Ratio(TP, P) * Ratio(TN, Q), False, None, P * Q, False),
            (Ratio(TP, P) + Ratio(TN, Q), False, None, P * Q, False),
            (Ratio(TP * P, N * (TP + FP + FN)), False, None, P, False),
            (Ratio(TP, TP + FP) * Ratio(TN, Q), False, None, P * Q, True),
        ],
    )
    def test_known_formulas(
        self, ratio: Ratio, lower: bool, flips: Flip | None, needed: Polynomial | None, worst: bool
    ) -> None:
        found = classify(ratio, lower_is_better=lower)
        assert isinstance(found, Classified)
        assert (found.flips, found.defined, found.worst_when_undefined) == (flips, needed, worst)
        check(ratio, found, lower=lower)

    def test_a_sign_that_only_the_factors_show(self) -> None:
        gap = TP - FN
        found = classify(Ratio(gap * gap * gap, N * N * N), lower_is_better=False)
        assert isinstance(found, Classified)
        assert found.slopes[0].proof is Proof.FACTORS
        assert found.slopes[0].numerator == Polynomial.constant(-6) * gap * gap
        check(found.ratio, found, lower=False)

    @pytest.mark.parametrize(
        ("ratio", "lower", "kind"),
        [
            (Ratio(FN, P), False, NotMonotone),
            (Ratio(TP + FP, N), False, NotMonotone),
            (Ratio(TP, TP - FP), False, Undefinable),
            (Ratio(TP, TP + FP) + Ratio(TN, Q), False, Undefinable),
            (Ratio(P, N), False, Unmoved),
            (Ratio(TP, FN), False, Undefinable),
        ],
    )
    def test_refusals(self, ratio: Ratio, lower: bool, kind: type[Outcome]) -> None:
        found = classify(ratio, lower_is_better=lower)
        assert isinstance(found, kind)
        check(ratio, found, lower=lower)

    @given(st.sampled_from(ALL))
    def test_definedness_is_fixed_by_the_annotation(self, at: Counts) -> None:
        for polynomial in (P, Q, P * Q):
            assert len({polynomial.at(*n) for n in attacked(at)}) == 1


@pytest.mark.parametrize("seed", range(4))
def test_slopes_of_linear_quotients_are_those_in_lowest_terms(seed: int) -> None:
    """They are found without a greatest common divisor of polynomials, which is asked for here."""
    rng = np.random.default_rng(seed)

    def drawn() -> Polynomial:
        terms = {tuple(int(i == k) for i in range(4)): int(rng.choice([0, 0, 1, 1, 2, -1, 3])) for k in range(4)}
        return Polynomial.of({**terms, (0, 0, 0, 0): int(rng.choice([0, 0, 0, 1, 2, -2]))})  # type: ignore[dict-item]

    asked = 0
    while asked < 50:
        above, below = drawn(), drawn()
        if not below:
            continue
        ratio = reduced(above, below)
        for move in ("a", "b"):
            a, b = ratio.numerator, ratio.denominator
            slow = reduced(moved(a, move) * b - a * moved(b, move), b * b)
            assert _slope(ratio, move) == slow.numerator
            asked += 1

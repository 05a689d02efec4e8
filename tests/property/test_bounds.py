"""What must hold of every built-in metric's bound, whatever its family: each class opens with its sentence."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robspec.bounds.search import meets
from robspec.kernels.knapsack import backends
from robspec.semantics.norm import Norm
from tests.examples import examples
from tests.property.questions import EPS, NORM, TEXTS, Image, asked, images, opened, sense

pytestmark = pytest.mark.parametrize("text", TEXTS)
FACTOR = st.fractions(1, 4, max_denominator=8)
GAMMA = st.fractions(0, 1, max_denominator=8)
NEAR = Fraction(1, 10**6)
"""A dual bound is searched in doubles: what is equal in exact arithmetic may differ by this much."""


def close(text: str, first: Fraction | None, second: Fraction | None) -> bool:
    """Equal; for the families bounded by a dual, equal up to its search."""
    if first is None or second is None or asked(text).plan.proof.exact:
        return first == second
    return abs(first - second) <= NEAR


def alike(text: str, first: Fraction | float | None, second: Fraction | float | None) -> bool:
    """The same for radii."""
    if first is None or second is None or math.inf in (first, second) or asked(text).plan.proof.exact:
        return first == second
    return abs(first - second) <= NEAR * (1 + first)


class TestMonotone:
    """Everything below is a bound over the set {z + a : ||a||_q <= L eps}, which grows with eps and with L."""

    @settings(max_examples=examples(15))
    @given(image=images(), budgets=st.lists(EPS, min_size=2, max_size=4), norm=NORM)
    def test_in_eps(self, text: str, image: Image, budgets: list[Fraction], norm: Norm) -> None:
        found = opened(text, [image], norm).worst_case(sorted(budgets))[0]
        if None in found:
            assert set(found) == {None}
            return
        values = [sense(text) * v for v in found if v is not None]
        assert values == sorted(values, reverse=True)

    @settings(max_examples=examples(10))
    @given(image=images(), eps=EPS, gamma=GAMMA, factor=FACTOR, norm=NORM)
    def test_in_the_constant(
        self, text: str, image: Image, eps: Fraction, gamma: Fraction, factor: Fraction, norm: Norm
    ) -> None:
        tight, loose = opened(text, [image], norm), opened(text, [image], norm, factor)
        better, worse = tight.worst_case([eps])[0][0], loose.worst_case([eps])[0][0]
        assert (better is None) == (worse is None)
        if better is not None and worse is not None:
            assert sense(text) * better >= sense(text) * worse
        far, near = (b.radius([(gamma,)], strict=False)[0][0] for b in (tight, loose))
        assert (far is None) == (near is None)
        if far is not None and near is not None:
            assert near <= far

    @settings(max_examples=examples(10))
    @given(image=images(), gamma=GAMMA, norm=NORM)
    def test_a_strict_condition_is_harder_to_meet(self, text: str, image: Image, gamma: Fraction, norm: Norm) -> None:
        bound = opened(text, [image], norm)
        loose, strict = (bound.radius([(gamma,)], strict=s)[0][0] for s in (False, True))
        assert loose is None or strict is None or loose <= strict


class TestScale:
    """Reachable logits lie in {z + a : ||a||_q <= L eps}: only L eps counts, in the units of the logits."""

    @settings(max_examples=examples(10))
    @given(image=images(), eps=EPS, factor=FACTOR, norm=NORM)
    def test_of_constant_and_budget(
        self, text: str, image: Image, eps: Fraction, factor: Fraction, norm: Norm
    ) -> None:
        one = opened(text, [image], norm).worst_case([eps])
        other = opened(text, [image], norm, factor).worst_case([eps / factor])
        assert one == other

    @settings(max_examples=examples(10))
    @given(image=images(), eps=EPS, gamma=GAMMA, power=st.integers(-20, 20), norm=NORM)
    def test_of_the_logits(
        self, text: str, image: Image, eps: Fraction, gamma: Fraction, power: int, norm: Norm
    ) -> None:
        before, after = opened(text, [image], norm), opened(text, [image.scaled(2.0**power)], norm)
        assert before.clean() == after.clean()
        scale = Fraction(2) ** power
        one, other = before.worst_case([eps])[0][0], after.worst_case([eps * scale])[0][0]
        assert close(text, one, other)
        near, far = (b.radius([(gamma,)], strict=False)[0][0] for b in (before, after))
        assert alike(text, near, far if far is None or far == math.inf else Fraction(far) / scale)


class TestPermutation:
    """All pixels share ONE budget, as a set: sum cost <= (L eps)^q, in whatever order."""

    @settings(max_examples=examples(15))
    @given(image=images(6), order=st.permutations(range(6)), eps=EPS, gamma=GAMMA, norm=NORM)
    def test_of_the_pixels(
        self, text: str, image: Image, order: list[int], eps: Fraction, gamma: Fraction, norm: Norm
    ) -> None:
        before, after = opened(text, [image], norm), opened(text, [image.moved(order)], norm)
        assert before.clean() == after.clean()
        assert close(text, before.worst_case([eps])[0][0], after.worst_case([eps])[0][0])
        near, far = (b.radius([(gamma,)], strict=False)[0][0] for b in (before, after))
        assert alike(text, near, far)


class TestDisjointImages:
    """All pixels share ONE budget per image: each image has its own, whatever else is in the batch."""

    @settings(max_examples=examples(10))
    @given(batch=st.lists(images(4), min_size=2, max_size=3), eps=EPS, gamma=GAMMA, norm=NORM)
    def test_a_batch_is_its_images(
        self, text: str, batch: list[Image], eps: Fraction, gamma: Fraction, norm: Norm
    ) -> None:
        together = opened(text, batch, norm)
        alone = [opened(text, [image], norm) for image in batch]
        assert together.clean() == [b.clean()[0] for b in alone]
        assert together.worst_case([eps]) == [b.worst_case([eps])[0] for b in alone]
        thresholds = [(gamma,)] * len(batch)
        assert together.radius(thresholds, strict=True) == [b.radius([(gamma,)], strict=True)[0] for b in alone]


class TestNoBudget:
    """B = 0: an item costs 0 iff d = 0, else it is unaffordable."""

    @settings(max_examples=examples(20))
    @given(image=images(), norm=NORM)
    def test_gives_the_clean_value(self, text: str, image: Image, norm: Norm) -> None:
        bound = opened(text, [image], norm)
        clean, found = bound.clean()[0], bound.worst_case([Fraction(0)])[0][0]
        if not image.tied:
            assert found == clean
        elif found is not None and clean is not None:
            assert sense(text) * found <= sense(text) * clean


class TestDuality:
    """h_eps > gamma <=> eps <= the returned R: with the radius returned, Q1 and Q2 can never disagree."""

    @settings(max_examples=examples(15))
    @given(image=images(), eps=EPS, gamma=GAMMA, strict=st.booleans(), norm=NORM)
    def test_at_any_budget(
        self, text: str, image: Image, eps: Fraction, gamma: Fraction, strict: bool, norm: Norm
    ) -> None:
        bound = opened(text, [image], norm)
        radius = bound.radius([(gamma,)], strict=strict)[0][0]
        held = bound.worst_case([eps])[0][0]
        clean = bound.clean()[0]
        assert (radius is None) == (held is None) == (clean is None)
        if radius is None or held is None or clean is None:
            return
        if meets(asked(text), clean, gamma, strict=strict):
            assert radius == 0
        elif radius > 0 or eps > 0:  # at R = 0 a tie may meet the condition within any ball, the closed one of 0 too
            assert meets(asked(text), held, gamma, strict=strict) == (eps > radius)


class TestBackends:
    """The same integers on every backend."""

    @settings(max_examples=examples(6))
    @given(image=images(), eps=EPS, norm=NORM)
    def test_the_reference_agrees(self, text: str, image: Image, eps: Fraction, norm: Norm) -> None:
        found = opened(text, [image], norm).worst_case([eps])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.property.questions.CPU", backends()["reference"])
            assert opened(text, [image], norm).worst_case([eps]) == found

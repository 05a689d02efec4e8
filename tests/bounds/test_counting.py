"""Counting bounds against enumeration of every label assignment on tiny images, in exact rationals."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robspec.bounds import counting
from robspec.kernels.knapsack import Items, LogitsBatch, backends
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from tests.kernels.oracle import predict

BACKENDS = [b for b in backends().values() if b.unavailable() is None]
ONE = Constant(Fraction(1), L2, L2, ConstantStatus.PROVED)


def pair_cost(pixel: list[float], target: int) -> Fraction:
    """Least squared l2 distance to logits where `target` is at least the other class (K = 2)."""
    own = predict(pixel)
    return Fraction(0) if own == target else (Fraction(pixel[own]) - Fraction(pixel[target])) ** 2 / 2


def true_worst(rows: list[list[float]], labels: list[int], ignore: int | None, eps: Fraction) -> Fraction | None:
    """Least accuracy over all predictions that an l2 attack of norm eps on the logits reaches (K = 2)."""
    counted = [i for i, y in enumerate(labels) if y != ignore]
    if not counted:
        return None
    worst = Fraction(1)
    for assignment in itertools.product((0, 1), repeat=len(rows)):
        cost = sum((pair_cost(p, c) for p, c in zip(rows, assignment, strict=True)), Fraction(0))
        if cost <= eps**2:
            worst = min(worst, Fraction(sum(assignment[i] == labels[i] for i in counted), len(counted)))
    return worst


PIXELS = st.lists(
    st.tuples(st.lists(st.floats(-2, 2, width=16), min_size=2, max_size=2), st.sampled_from([0, 1, 255])),
    min_size=1,
    max_size=6,
)
EPS = st.fractions(0, 4, max_denominator=20)


def prepare(rows: list[list[float]], labels: list[int], backend: int = 0):  # type: ignore[no-untyped-def]
    logits = torch.tensor(rows, dtype=torch.float32).T.reshape(1, 2, 1, len(rows))
    batch = LogitsBatch(logits, torch.tensor(labels).reshape(1, 1, -1), Items.CORRECT, 255)
    return BACKENDS[backend % len(BACKENDS)].prepare(batch)


class TestWorstCase:
    """Counting: h = h0 - n/D. N(eps) = max{n : sum of n smallest <= (L eps)^q}. Exact."""

    @given(PIXELS, EPS, st.integers(0, 2))
    def test_never_above_the_truth_and_equal_up_to_rounding(self, pixels: list, eps: Fraction, which: int) -> None:  # type: ignore[type-arg]
        rows, labels = [p for p, _ in pixels], [y for _, y in pixels]
        got = counting.worst_case(prepare(rows, labels, which), [eps], ONE)[0][0]
        truth = true_worst(rows, labels, 255, eps)
        wider = true_worst(rows, labels, 255, eps * (1 + Fraction(1, 2**30)))
        if truth is None:
            assert got is None
        else:
            # Ties already flipped at cost 0 count as wrong in the bound: the closed ball holds its boundary.
            assert got is not None
            assert got <= truth
            assert wider is not None
            assert got == wider or any(a == b for a, b in rows)

    def test_the_ignore_label_and_the_denominator_are_per_image(self) -> None:
        """IoU that ignores the ignore label; accuracy divided by batch x height x width (PEERS.md, 6)."""
        logits = torch.zeros(2, 2, 1, 4)
        logits[:, 0] = 1.0
        labels = torch.tensor([[[0, 0, 255, 255]], [[0, 1, 1, 1]]])
        for backend in BACKENDS:
            prepared = backend.prepare(LogitsBatch(logits, labels, Items.CORRECT, 255))
            assert counting.clean(prepared) == [Fraction(1), Fraction(1, 4)]
            flipped = counting.worst_case(prepared, [Fraction(0), Fraction("0.71")], ONE)
            assert flipped == [(Fraction(1), Fraction(1, 2)), (Fraction(1, 4), Fraction(0))]

    def test_eps_zero_gives_the_clean_value_without_ties(self) -> None:
        logits = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
        labels = torch.randint(0, 4, (3, 5, 6), generator=torch.Generator().manual_seed(1))
        for backend in BACKENDS:
            prepared = backend.prepare(LogitsBatch(logits, labels, Items.CORRECT))
            assert [(h,) for h in counting.clean(prepared)] == counting.worst_case(prepared, [Fraction(0)], ONE)


class TestRadius:
    """n* = fewest flips that satisfy kappa; R = (sum of n* smallest)^{1/q}/L; 0 if clean; inf if none does."""

    @given(PIXELS, st.fractions(-1, 1, max_denominator=12), st.booleans(), st.integers(0, 2))
    def test_galois(self, pixels: list, gamma: Fraction, strict: bool, which: int) -> None:  # type: ignore[type-arg]
        """h_eps > gamma <=> eps <= returned R (non-strict); h_eps >= gamma for a strict objective."""
        rows, labels = [p for p, _ in pixels], [y for _, y in pixels]
        prepared = prepare(rows, labels, which)
        radius = counting.radius(prepared, [(gamma,)], strict, ONE)[0][0]
        clean = counting.clean(prepared)[0]
        if clean is None:
            assert radius is None
            return
        assert radius is not None
        if (clean < gamma) if strict else (clean <= gamma):
            assert radius == 0
            return
        inside = [Fraction(0), radius / 2, radius] if radius != math.inf else [Fraction(10**9)]
        beyond = [] if radius == math.inf else [Fraction(math.nextafter(float(radius), math.inf)), radius * 2 + 1]
        held = counting.worst_case(prepared, [Fraction(e) for e in inside], ONE)[0]
        lost = counting.worst_case(prepared, [Fraction(e) for e in beyond], ONE)[0]
        if radius > 0:
            assert all((h >= gamma if strict else h > gamma) for h in held if h is not None)
        assert all(not (h >= gamma if strict else h > gamma) for h in lost if h is not None)

    def test_out_of_reach_is_infinite_not_a_sentinel(self) -> None:
        """An unreachable threshold given the radius 100000, which then enters the mean (PEERS.md, 3)."""
        prepared = prepare([[1.0, 0.0]], [0])
        assert counting.radius(prepared, [(Fraction(0),)], True, ONE) == [(math.inf,)]
        assert counting.radius(prepared, [(Fraction(-1),)], False, ONE) == [(math.inf,)]
        assert counting.radius(prepare([[1.0, 0.0]], [255]), [(Fraction(0),)], True, ONE) == [(None,)]

    def test_radius_scales_with_the_constant_not_its_square_root(self) -> None:
        prepared = prepare([[1.0, 0.0]], [0])
        four = Constant(Fraction(4), L2, L2, ConstantStatus.PROVED)
        one = counting.radius(prepared, [(Fraction(0),)], False, ONE)[0][0]
        quarter = counting.radius(prepared, [(Fraction(0),)], False, four)[0][0]
        assert one is not None
        assert quarter is not None
        assert float(one) == pytest.approx(math.sqrt(0.5), rel=1e-9)
        assert float(quarter) == pytest.approx(math.sqrt(0.5) / 4, rel=1e-9)

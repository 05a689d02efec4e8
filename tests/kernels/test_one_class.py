"""One-class items: equal on every backend, exact against quadratic programming by enumeration of active sets."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robspec.kernels.knapsack import Backend, Items, LogitsBatch, backends
from robspec.kernels.knapsack._classes import frontier
from robspec.kernels.knapsack.budget import Budget
from robspec.kernels.knapsack.reference import item_cost, water_filling
from tests.kernels.available import BACKENDS, FEW, NATIVE, REFERENCE, TRITON, UNTRACED


def distance_by_active_sets(behind: Fraction, ahead: list[Fraction]) -> Fraction:
    """Exact least squared distance: try every set of constraints held with equality and keep the feasible best."""
    best: Fraction | None = None
    for size in range(len(ahead) + 1):
        for chosen in itertools.combinations(ahead, size):
            t = (behind + sum(chosen, Fraction(0))) / (size + 1)
            t = max(t, behind)
            value = (t - behind) ** 2 + sum(((max(z - t, Fraction(0))) ** 2 for z in ahead), Fraction(0))
            best = value if best is None else min(best, value)
    assert best is not None
    return best


@given(
    st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=7),
    st.floats(-4, 4, width=32),
)
def test_water_filling_is_the_exact_distance_from_below(ahead: list[float], behind: float) -> None:
    """For q=2 the exact distance is min_t (t - z_k)^2 + sum_j (z_j - t)_+^2, never looser than the pair bound."""
    exact = distance_by_active_sets(Fraction(behind), [Fraction(z) for z in ahead])
    got = Fraction(water_filling(behind, ahead))
    assert got <= exact
    assert got >= exact * (1 - Fraction(1, 2**38)) - Fraction(1, 2**1000)
    gap = max(Fraction(0), max(Fraction(z) for z in ahead) - Fraction(behind))
    assert exact >= gap**2 / 2


@st.composite
def batches(draw: Any) -> LogitsBatch:
    b, k = draw(st.integers(1, 2)), draw(st.sampled_from([1, 2, 3, 6]))
    h, w = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    values = st.one_of(st.sampled_from([0.0, 1.0, -1.0, 1.0000001, 60000.0]), st.floats(-100, 100, width=16))
    flat = draw(st.lists(values, min_size=b * k * h * w, max_size=b * k * h * w))
    dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]))
    classes = max(k, 2)
    labels = draw(st.lists(st.sampled_from([*range(classes), 255]), min_size=b * h * w, max_size=b * h * w))
    inside = draw(st.sets(st.integers(0, classes - 1), min_size=1, max_size=classes - 1))
    return LogitsBatch(
        torch.tensor(flat, dtype=torch.float64).to(dtype).reshape(b, k, h, w),
        torch.tensor(labels).reshape(b, h, w),
        Items.CLASS,
        draw(st.sampled_from([255, 0, None])),
        inside=tuple(sorted(inside)),
        water=draw(st.booleans()),
        share=draw(st.sampled_from([1.0, 0.5, 1 / 3])),
        whole_when_wrong=draw(st.booleans()),
    )


def assert_equal(batch: LogitsBatch, chosen: list[Backend] = BACKENDS) -> None:
    expected = REFERENCE.prepare_class(batch)
    for backend in chosen:
        got = backend.prepare_class(batch)
        for field in ("finite", "tp", "fp", "fn", "tn"):
            np.testing.assert_array_equal(getattr(got, field), getattr(expected, field), f"{backend.name} {field}")
        flags = ("pixels", "single", "leave_squared", "enter_squared")
        assert [getattr(got, f) for f in flags] == [getattr(expected, f) for f in flags]
        for image in range(len(expected.tp)):
            for mine, theirs in zip(got.lists(image), expected.lists(image), strict=True):
                np.testing.assert_array_equal(mine, theirs, backend.name)


def assert_reaches(
    batch: LogitsBatch, budgets: list[tuple[Fraction, Fraction | None]], chosen: list[Backend]
) -> None:
    """Lists for a budget are the start of the whole lists, and go on until the budget is spent."""
    whole = REFERENCE.prepare_class(batch)
    for backend in chosen:
        got = backend.prepare_class(replace(batch, ranked=backend.rank(batch.logits)))
        for image, (eps, norm) in itertools.product(np.flatnonzero(whole.finite).tolist(), budgets):
            sizes = (whole.pixels, whole.single)
            asked = [
                Budget.of(eps, Fraction(1), norm, sizes[0], single=sizes[1], squared=squared and norm == 2)
                for squared in (whole.leave_squared, whole.enter_squared)
            ]
            lists = zip(got.lists(image, *asked), whole.lists(image), asked, strict=True)
            for mine, everything, budget in lists:
                np.testing.assert_array_equal(mine, everything[: len(mine)], backend.name)
                costs = [item_cost(float(d), budget) for d in everything]
                if len(mine) < len(everything) and budget.exponent:
                    assert sum(costs[: len(mine)]) > budget.limit
                elif len(mine) < len(everything):
                    assert costs[len(mine)] > budget.limit


@given(batches(), st.lists(st.fractions(0, 200, max_denominator=50), min_size=1, max_size=3))
def test_lists_reach_as_far_as_the_budget(batch: LogitsBatch, eps: list[Fraction]) -> None:
    squared = batch.water or batch.share != 1.0
    norms = [Fraction(2)] if squared else [Fraction(1), Fraction(2), None]
    assert_reaches(batch, [(e, q) for e in eps for q in norms], NATIVE)


@pytest.mark.parametrize("spread", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_lists_of_a_large_image_are_short_and_reach_far_enough(spread: float, share: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 9, 70, 70) * spread
    labels = torch.where(torch.rand(1, 70, 70) < 0.7, logits.argmax(1), torch.randint(0, 9, (1, 70, 70)))
    batch = LogitsBatch(
        logits, labels, Items.CLASS, None, inside=(4,), water=True, share=share, whole_when_wrong=share != 1.0
    )
    eps = [Fraction(1, 100), Fraction(1), Fraction(5), Fraction(200), Fraction(3)]
    assert_reaches(batch, [(e, Fraction(2)) for e in eps], NATIVE)
    got = backends()["cpu"].prepare_class(batch)
    budget = Budget.of(eps[0], Fraction(1), Fraction(2), 4900, single=False, squared=True)
    assert len(got.lists(0, budget, budget)[1]) < 2000 or spread < 1


@pytest.mark.parametrize("gap", [2.0**-24, 2.0**-33, 2.0**-45, 2.0**-53])
@pytest.mark.parametrize("edge", [2.0**-39, 0.125, 1.0, 1.03125, 2.0**20])
def test_items_that_flip_alone_are_all_there_just_below_a_bucket(edge: float, gap: float) -> None:
    """For q = inf nothing is summed, so a missing item would not be noticed afterwards."""
    below = edge * (1 - gap)
    logits = torch.zeros(1, 2, 1, 4, dtype=torch.float64)
    logits[0, 0, 0] = torch.tensor([below, 0, 2 * edge, math.nextafter(below, 0)], dtype=torch.float64)
    batch = LogitsBatch(logits, torch.zeros(1, 1, 4, dtype=torch.int64), Items.CLASS, inside=(1,))
    for scale in (below, math.nextafter(edge, 0.0), edge):
        budget = Budget(0, scale, 0)
        for backend in NATIVE:
            got = backend.prepare_class(batch).lists(0, budget, budget)[1]
            assert np.count_nonzero(got <= scale) == 3, (backend.name, scale)


@given(batches())
def test_backends_equal_the_reference(batch: LogitsBatch) -> None:
    assert_equal(batch, NATIVE)


@settings(phases=UNTRACED, max_examples=FEW)
@given(batches())
def test_triton_equals_the_reference(batch: LogitsBatch) -> None:
    assert_equal(batch, TRITON)


@settings(phases=UNTRACED, max_examples=FEW)
@given(batches(), st.fractions(0, 200, max_denominator=50))
def test_triton_on_ranked_logits_reaches_as_far_as_the_budget(batch: LogitsBatch, eps: Fraction) -> None:
    squared = batch.water or batch.share != 1.0
    assert_reaches(batch, [(eps, q) for q in ([Fraction(2)] if squared else [Fraction(1), None])], TRITON)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced"])
@pytest.mark.parametrize("inside", [(0,), (1, 3), (0, 2, 4, 5)])
def test_larger_images_and_strides(layout: str, inside: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 6, 60, 68)
    if layout == "channels_last":
        logits = logits.to(memory_format=torch.channels_last)
    elif layout == "sliced":
        logits = torch.randn(2, 6, 60, 136)[..., ::2]
    labels = torch.randint(0, 6, (2, 60, 68))
    for water in (False, True):
        assert_equal(LogitsBatch(logits, labels, Items.CLASS, 5, inside=inside, water=water))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("k", [1, 3])
def test_non_finite_logits_are_seen(bad: float, k: int) -> None:
    logits = torch.zeros(2, k, 40, 40)
    logits[1, k - 1, 39, 39] = bad
    batch = LogitsBatch(logits, torch.zeros(2, 40, 40, dtype=torch.int64), Items.CLASS, inside=(1,), water=True)
    for backend in BACKENDS:
        assert backend.prepare_class(batch).finite.tolist() == [True, False]


@pytest.mark.parametrize("inside", [(), (0, 1, 2)])
def test_the_class_set_is_neither_empty_nor_everything(inside: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="some but not all"):
        LogitsBatch(torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.int64), Items.CLASS, inside=inside)


@given(
    st.lists(st.integers(0, 20), max_size=6),
    st.lists(st.integers(0, 20), max_size=6),
    st.integers(0, 50),
)
def test_frontier_is_every_affordable_pair(leave: list[int], enter: list[int], limit: int) -> None:
    """Only b*(a) = max{b : B[b] <= budget - A[a]} matters."""
    a_costs = np.array(sorted(c for c in leave if c <= limit), dtype=np.int64)
    b_costs = np.array(sorted(c for c in enter if c <= limit), dtype=np.int64)
    out = np.full(len(a_costs) + 1, -7, dtype=np.int64)
    count = frontier(a_costs, b_costs, limit, out)
    expected = []
    for a in range(len(a_costs) + 1):
        fits = [b for b in range(len(b_costs) + 1) if a_costs[:a].sum() + b_costs[:b].sum() <= limit]
        if fits:
            expected.append(max(fits))
    assert out[:count].tolist() == expected


@pytest.mark.parametrize("water", [False, True])
@pytest.mark.parametrize("share", [1.0, 0.5, 2.0])
def test_a_single_logit_says_whether_its_items_are_squared(water: bool, share: float) -> None:
    """A budget is converted by what the items are: squares are at least 128 here, margins at most 32."""
    logits = torch.tensor([16.0, -16.0]).reshape(1, 1, 1, 2)
    batch = LogitsBatch(
        logits, torch.tensor([[[1, 0]]]), Items.CLASS, inside=(1,), water=water, share=share, whole_when_wrong=False
    )
    got = REFERENCE.prepare_class(batch)
    leave, enter = got.lists(0)
    assert [bool(x[0] > 64) for x in (leave, enter)] == [water and share != 1.0] * 2
    assert [got.leave_squared, got.enter_squared] == [water and share != 1.0] * 2

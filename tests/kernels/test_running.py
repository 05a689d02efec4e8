"""One running sum for all budgets: the integers that each budget's own sum gives, also where doubles cannot tell."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robspec.kernels.knapsack import Items, LogitsBatch, _select, backends
from robspec.kernels.knapsack._histogram import edges, ends, window
from robspec.kernels.knapsack._margins import BUCKETS
from robspec.kernels.knapsack._running import asked as gathered
from robspec.kernels.knapsack._running import counts
from robspec.kernels.knapsack.budget import Budget
from tests.examples import examples
from tests.kernels.available import COMPILED

F = Fraction


def one_by_one(ascending: list[float], budget: Budget) -> int:
    """The definition in Python's integers: an item costs floor(d^q scale) units, as doubles have the product."""
    left = budget.limit
    for n, d in enumerate(ascending):
        cost = d * d * budget.scale if budget.exponent == 2 else d * budget.scale
        left -= budget.limit + 1 if cost >= budget.limit + 1 else math.floor(cost) if cost >= 0 else 0
        if left < 0:
            return n
    return len(ascending)


def answered(ascending: list[float], budgets: list[Budget]) -> tuple[list[int], int]:
    """The counts, and how many had to be added up."""
    added = []

    def exact(budget: Budget) -> int:
        added.append(budget)
        return one_by_one(ascending, budget)

    return counts(np.array(ascending), budgets, exact).tolist(), len(added)


SIZES = st.sampled_from(
    [0.0, 5e-324, 1e-200, 1e-160, 2.0**-40, 1e-3, 0.5, 1.0, 1.0 + 2**-52, 3.0, 1e9, 2.0**500, math.inf]
)
MARGINS = st.lists(st.one_of(SIZES, st.floats(0.0, 10.0)), max_size=40).map(sorted)


@settings(max_examples=examples(300), deadline=None)
@given(
    MARGINS,
    st.lists(st.tuples(st.sampled_from([1, 2]), st.floats(0.0, 1e300), st.sampled_from([2**40, 2**36])), max_size=8),
    st.sampled_from([1.0, 1e-300, 1e-20, 1e20]),
)
def test_equal_to_the_definition(margins: list[float], given_: list[tuple[int, float, int]], unit: float) -> None:
    budgets = [Budget(q, scale * unit, limit) for q, scale, limit in given_]
    found, _ = answered(margins, budgets)
    assert found == [one_by_one(margins, b) for b in budgets]


@settings(max_examples=examples(200), deadline=None)
@given(st.lists(st.floats(0.0, 4.0), min_size=1, max_size=40).map(sorted), st.data())
def test_budgets_that_pay_for_some_items_to_the_last_unit(margins: list[float], data: st.DataObject) -> None:
    """And those next to them: what rounding decides is never left to doubles."""
    n = data.draw(st.integers(1, len(margins)))
    spent = sum((F(d) ** 2 for d in margins[:n]), F(0))
    if not spent:
        return
    near = [Budget.of(F(math.sqrt(spent)) * (1 + F(k, 2**50)), F(1), F(2), 64, single=True) for k in range(-8, 9)]
    found, _ = answered(margins, near)
    assert found == [one_by_one(margins, b) for b in near]


def test_exact_fits_are_added_up_and_the_rest_is_not() -> None:
    budgets = [Budget(2, 2.0**40 / k, 2**40) for k in (1, 2, 3.5, 9)]
    found, added = answered([1.0] * 8, budgets)
    assert (found, added) == ([1, 2, 3, 8], 2)
    rng = np.random.default_rng(3)
    many = np.sort(rng.random(20_000)).tolist()
    asked = [Budget.of(F(k, 3), F(1), F(2), 2**16, single=False) for k in range(1, 120)]
    found, added = answered(many, asked)
    assert added <= 2
    assert found[::20] == [one_by_one(many, b) for b in asked[::20]]


@pytest.mark.parametrize("name", ["cpu", "numpy"])
def test_backends_with_many_budgets(name: str) -> None:
    """Few items and many, budgets for none, some and all of them, in any order; images without an item."""
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(3, 2, 24, 24, generator=generator, dtype=torch.float64)
    logits[1] = logits[1].round()
    labels = logits.argmax(1)
    labels[2] = 1 - labels[2]
    batch = LogitsBatch(logits, labels, Items.CORRECT, 255)
    reference, found = (backends()[n].prepare(batch) for n in ("reference", name))
    for norm in (F(1), F(2), None):
        asked = [Budget.of(F(k, 8), F(1), norm, 576, single=False) for k in (0, 40, 1, 3, 9, 2000, 17, 5, 80, 1)]
        for budgets in (asked, asked[:4], asked[-3:], asked[:2]):
            assert np.array_equal(found.flips(budgets), reference.flips(budgets)), (norm, len(budgets))


def test_the_end_is_that_of_the_largest_budget() -> None:
    rng = np.random.default_rng(5)
    rows = rng.integers(0, 3, (4, BUCKETS)) * (rng.random((4, BUCKETS)) < 0.1)
    rows[3] = 0
    asked = [Budget.of(F(2) ** k, F(1), F(2), 4096, single=False) for k in (-30, 3, -2, 30)]
    asked.append(Budget.of(F(1), F(1), F(1), 4096, single=False))
    for row, (count, edge) in zip(rows, ends(rows, asked), strict=True):
        last = max(window(row, b)[1] for b in asked)
        assert (count, edge) == (row[: last + 1].sum(), edges()[last + 1])


@pytest.mark.parametrize("exponent", [1, 2])
def test_items_within_reach_are_picked_out(exponent: int) -> None:
    """Also where nothing is compiled: budgets of which the largest reaches fewer than half of the pixels."""
    rng = np.random.default_rng(exponent)
    logits = torch.from_numpy(rng.normal(size=(2, 3, 8, 8)))
    batch = LogitsBatch(logits, logits.argmax(1), Items.CORRECT)
    eps = [Fraction(n, 20) for n in (0, 1, 3, 7, 12, 20)]
    asked = [Budget.of(e, Fraction(1), Fraction(exponent), 64, single=False) for e in eps]
    found = backends()["cpu"].prepare(batch).flips(asked)
    assert found.tolist() == backends()["reference"].prepare(batch).flips(asked).tolist()
    assert 0 < found[:, -1].max() < 32


@settings(max_examples=examples(300), deadline=None)
@given(
    st.lists(
        st.one_of(st.sampled_from([0.0, 2.0**-149, 1e-40, 2.0**-126, 1.0, 1 + 2**-24, 3.0]), st.floats(0, 9)),
        max_size=200,
    ),
    st.lists(st.tuples(st.sampled_from([1, 2]), st.floats(0.0, 1e90), st.sampled_from([2**40, 2**36])), max_size=6),
    st.sampled_from([1.0, 1e-85, 1e-20]),
)
def test_sums_in_single_precision_enclose_the_definition(
    margins: list[float], given_: list[tuple[int, float, int]], unit: float
) -> None:
    budgets = [Budget(q, scale * unit, limit) for q, scale, limit in given_]
    exact = sorted(margins)
    items = np.sort(np.array(margins).astype(np.float32))
    for some in gathered(budgets):
        least, beyond = np.full((2, len(some.places)), -7)
        ends = some.enclosing(len(items) + 5, single=True)
        _select.enclose(items, some.exponent, *ends, np.empty(len(items) // _select.SUMMED + 1), least, beyond)
        for m, low, high in zip(some.places.tolist(), least.tolist(), beyond.tolist(), strict=True):
            assert 0 <= low <= one_by_one(exact, budgets[m]) <= high <= len(items)


def test_sums_in_single_precision_leave_little_open() -> None:
    rng = np.random.default_rng(6)
    items = np.sort(rng.random(20_000).astype(np.float32))
    (some,) = gathered([Budget.of(F(k, 3), F(1), F(2), 2**16, single=False) for k in range(1, 120)])
    least, beyond = np.empty((2, 119), dtype=np.int64)
    blocks = np.empty(len(items) // _select.SUMMED + 1)
    _select.enclose(items, 2, *some.enclosing(2**16, single=True), blocks, least, beyond)
    assert np.count_nonzero(least != beyond) <= 3


@pytest.mark.parametrize("far", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("norm", [F(1), F(2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_guess_that_falls_short_is_seen(far: float, norm: Fraction, dtype: torch.dtype) -> None:
    """What is looked at is cheaper than the rest, as dear, or dearer; only integers tell ties apart."""
    generator = torch.Generator().manual_seed(7)
    margins = (4 * torch.rand(2, 40 * 41, generator=generator, dtype=torch.float64)).round(decimals=1)
    margins[:, :: _select._EACH] *= far
    logits = torch.stack([margins, torch.zeros_like(margins)], dim=1).reshape(2, 2, 40, 41).to(dtype)
    batch = LogitsBatch(logits, torch.zeros(2, 40, 41, dtype=torch.int64), Items.CORRECT, 255)
    reference, found = (backends()[n].prepare(batch) for n in ("reference", "cpu"))
    several = [Budget.of(F(k), F(1), norm, 1640, single=False) for k in (1, 2, 5, 11, 12, 13)]
    for budgets in (several, several[:3], [*several, Budget.of(F(5000), F(1), norm, 1640, single=False)]):
        assert np.array_equal(found.flips(budgets), reference.flips(budgets))
    # One budget asks for the histogram, several then take it.
    assert np.array_equal(found.flips(several[:1]), reference.flips(several[:1]))
    assert np.array_equal(found.flips(several), reference.flips(several))


@pytest.mark.skipif(not COMPILED, reason="it is about what compiled code does")
def test_few_items_are_sorted_for_many_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """No histogram is counted, and not much more than the largest budget reaches is looked at."""
    logits = torch.randn(1, 2, 64, 64, generator=torch.Generator().manual_seed(8))
    prepared = backends()["cpu"].prepare(LogitsBatch(logits, logits.argmax(1), Items.CORRECT, 255))
    sorted_, between = [], _select.between

    def counting(*args: object) -> int:
        sorted_.append(between(*args))  # type: ignore[arg-type]
        return sorted_[-1]

    monkeypatch.setattr(_select, "between", counting)
    found = prepared.flips([Budget.of(F(k), F(1), F(2), 4096, single=False) for k in range(1, 5)])
    assert found[0, -1] <= sorted_[0] <= 1.3 * found[0, -1]
    assert len(sorted_) == 1
    assert prepared._counted is None  # type: ignore[attr-defined]

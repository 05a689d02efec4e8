"""Large images of two classes: what one pass and two windows of items say, against reading them in full."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robspec.kernels.knapsack import IntArray, Items, LogitsBatch, Windowed, _cpu_classes, _pair, cpu
from robspec.kernels.knapsack._cpu_late import LatePrepared
from robspec.kernels.knapsack._pair import BEYOND, PASSES, water
from robspec.kernels.knapsack._quotient import Market, Quotient, Run, aim, settle
from robspec.kernels.knapsack.budget import Budget, affordable
from robspec.kernels.knapsack.reference import water_filling
from tests.examples import examples
from tests.kernels.available import REFERENCE

F = Fraction
IOU = (np.array([1, 0, 0, 0]), np.array([1, 1, 1, 0]))
PRECISION = (np.array([1, 0, 0, 0]), np.array([1, 1, 0, 0]))
RECALL = (np.array([1, 0, 0, 0]), np.array([1, 0, 1, 0]))
FNR = (np.array([0, 0, -1, 0]), np.array([1, 0, 1, 0]))
FORMULAS = {"iou": IOU, "precision": PRECISION, "recall": RECALL, "fnr": FNR}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image counts as large."""
    monkeypatch.setattr(cpu, "LARGE", 1)
    monkeypatch.setattr(_cpu_classes, "LARGE_CLASS", 1)


@st.composite
def batches(draw: Any, items: Items) -> LogitsBatch:
    """Two classes or one logit, ties and few values often, in any layout and precision."""
    b, k = draw(st.integers(1, 2)), draw(st.sampled_from([1, 2]))
    h, w = draw(st.integers(2, 40)), draw(st.integers(1, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]))
    kind = draw(st.sampled_from(["normal", "few", "patches", "tiny"]))
    values = random.normal(size=(b, k, h, w))
    if kind == "few":
        values = np.round(values)
    if kind == "patches":
        values = np.cumsum(values, axis=3) * 0.1
    if kind == "tiny":
        values *= 1e-300 if dtype is torch.float64 else 1e-5
    logits = torch.from_numpy(values).to(dtype)
    if draw(st.booleans()):
        logits = logits.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    predicted = logits.argmax(1) if k == 2 else (logits[:, 0] > 0).long()
    wrong = torch.from_numpy(random.random((b, h, w)) < draw(st.sampled_from([0.0, 0.2, 1.0])))
    labels = torch.where(wrong, 1 - predicted, predicted)
    odd = torch.from_numpy(random.random((b, h, w)) < draw(st.sampled_from([0.0, 0.1])))
    labels = torch.where(odd, draw(st.sampled_from([255, 7])), labels)
    return LogitsBatch(
        logits,
        None if items is Items.PREDICTED and draw(st.booleans()) else labels,
        items,
        draw(st.sampled_from([255, 0, None])),
        inside=(draw(st.integers(0, 1)),) if items is Items.CLASS else (),
        water=items is Items.CLASS and draw(st.booleans()),
    )


def reach(batch: LogitsBatch, draw: Any) -> Fraction:
    """A radius that pays for next to nothing, for some, or for everything."""
    size = float(batch.logits.double().abs().mean()) or 1.0
    pixels = batch.logits.shape[2] * batch.logits.shape[3]
    return F(size) * draw(st.sampled_from([F(0), F(1, 100), F(1, 4), F(1), F(3)])) * F(int(pixels**0.5))


@pytest.mark.usefixtures("small")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from([Items.CORRECT, Items.PREDICTED]), st.sampled_from([F(1), F(2), None]))
def test_one_budget_flips_what_the_definition_says(data: Any, items: Items, norm: Fraction | None) -> None:
    batch = data.draw(batches(items))
    expected = REFERENCE.prepare(batch)
    got = cpu.BACKEND.prepare(batch)
    assert isinstance(got, LatePrepared)
    one = [Budget.of(reach(batch, data.draw), F(1), norm, got.pixels, single=got.single)]
    first = data.draw(st.sampled_from(["flips", "items"]))
    if first == "items":
        np.testing.assert_array_equal(got.items, expected.items)
    np.testing.assert_array_equal(got.flips(one), expected.flips(one))
    for field in ("items", "valid", "finite"):
        np.testing.assert_array_equal(getattr(got, field), getattr(expected, field))
    more = [*one, *(Budget.of(F(n, 3), F(1), norm, got.pixels, single=got.single) for n in range(4))]
    np.testing.assert_array_equal(got.flips(more), expected.flips(more))
    wanted = expected.items[:, None] // 2 + 1
    np.testing.assert_array_equal(got.radii(wanted, F(1), norm), expected.radii(wanted, F(1), norm))


@pytest.mark.usefixtures("small")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from(sorted(FORMULAS)), st.sampled_from([F(1), F(2)]))
def test_quotients_are_those_of_the_whole_lists(data: Any, name: str, norm: Fraction) -> None:
    batch = data.draw(batches(Items.CLASS))
    if norm == 1:
        batch = LogitsBatch(batch.logits, batch.labels, batch.items, batch.ignore, batch.inside, water=False)
    expected, got = REFERENCE.prepare_class(batch), cpu.BACKEND.prepare_class(batch)
    assert isinstance(got, Windowed)
    for field in ("tp", "fp", "fn", "tn", "finite", "single", "leave_squared", "enter_squared"):
        np.testing.assert_array_equal(getattr(got, field), getattr(expected, field))
    above, below = FORMULAS[name]
    used = (True, name in ("iou", "precision"))
    eps = reach(batch, data.draw)
    for image in range(len(batch.logits)):
        leave = Budget.of(eps, F(1), norm, got.pixels, single=got.single, squared=got.leave_squared)
        enter = Budget.of(eps, F(1), norm, got.pixels, single=got.single, squared=got.enter_squared)
        found = got.least_quotient(image, leave, enter, used, above, below)
        mine, others = expected.lists(image)
        counts = np.array([x[image] for x in (expected.tp, expected.fp, expected.fn, expected.tn)])
        if found is not None:
            lists = affordable(mine, leave), affordable(others[: len(others) * used[1]], enter)
            assert F(*found) == brute(counts, above, below, *lists, leave.limit)
        for one, other in zip(got.lists(image), (mine, others), strict=True):
            np.testing.assert_array_equal(one, other)


def brute(
    counts: IntArray, above: IntArray, below: IntArray, leave: IntArray, enter: IntArray, limit: int
) -> Fraction:
    """The least quotient over every affordable pair of flips."""
    spent_a, spent_b = (np.concatenate(([0], np.cumsum(some))) for some in (leave, enter))
    best: Fraction | None = None
    for a, cost in enumerate(spent_a.tolist()):
        if cost > limit:
            break
        # Either flip makes the quotient smaller, or leaves it.
        b = int(np.searchsorted(spent_b, limit - cost, side="right")) - 1
        cells = counts + np.array([-a, b, a, -b])
        value = F(int(above @ cells), int(below @ cells))
        best = value if best is None else min(best, value)
    assert best is not None
    return best


@st.composite
def runs(draw: Any, costs: list[int], dear: int) -> Run:
    """Any run of a list, told as it is or told of less."""
    first = draw(st.integers(0, len(costs)))
    last = draw(st.integers(first, len(costs)))
    before = max(costs[:first], default=0)
    beyond = min(costs[last:], default=None)
    if beyond is not None and beyond > dear:
        beyond = None
    slack = draw(st.integers(0, 2))
    return Run(
        first,
        sum(costs[:first]),
        np.array(costs[first:last], dtype=np.int64),
        before + slack if first else 0,
        None if beyond is None else max(beyond - slack, 0),
    )


@settings(max_examples=examples(600))
@given(st.data(), st.sampled_from(sorted(FORMULAS)))
def test_no_run_settles_what_is_not_so(data: Any, name: str) -> None:
    """Whatever runs are looked at: a quotient that is settled is the least over every affordable pair."""
    above, below = FORMULAS[name]
    sizes = st.lists(st.integers(0, data.draw(st.sampled_from([2, 12, 1000]))), max_size=12)
    leave, enter = sorted(data.draw(sizes)), sorted(data.draw(sizes)) if name in ("iou", "precision") else []
    counts = np.array([len(leave), data.draw(st.integers(0, 4)), data.draw(st.integers(1, 4)), len(enter)])
    limit = data.draw(st.integers(0, sum(leave) + sum(enter) + 3))
    problem = Quotient(counts, above, below, len(leave), len(enter))
    if not problem.positive:
        return
    bought = [[cost for cost in some if cost <= limit] for some in (leave, enter)]
    chosen = [data.draw(runs(some, limit)) for some in bought]
    found = settle(problem, *chosen, limit)
    if found is not None:
        expected = every_pair(counts, above, below, leave, enter, limit)
        assert F(*found) == expected


def every_pair(
    counts: IntArray, above: IntArray, below: IntArray, leave: list[int], enter: list[int], limit: int
) -> Fraction:
    """The least quotient over every affordable pair, all of them looked at."""
    values = []
    for a, b in itertools.product(range(len(leave) + 1), range(len(enter) + 1)):
        if sum(leave[:a]) + sum(enter[:b]) <= limit:
            cells = counts + np.array([-a, b, a, -b])
            values.append(F(int(above @ cells), int(below @ cells)))
    return min(values)


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_runs_about_the_best_pair_settle_it(name: str) -> None:
    """Runs of a few per cent of the items are enough where items are many."""
    random = np.random.default_rng(3)
    sizes = 40_000, 60_000 * (name in ("iou", "precision"))
    leave, enter = (np.sort(random.integers(1, 10**6, size=n)) for n in sizes)
    above, below = FORMULAS[name]
    counts = np.array([len(leave), 500, 700, len(enter)])
    problem, limit = Quotient(counts, above, below, len(leave), len(enter)), 10**9
    samples = [np.sort(random.choice(some, len(some) // 8)).astype(float) for some in (leave, enter)]
    guess = aim(problem, Market(samples[0], samples[1], 8.0), float(limit), lambda count: 4.0 / (count + 1) ** 0.5)
    assert guess is not None
    chosen = []
    for some, (low, high) in zip((leave, enter), guess, strict=True):
        first, last = np.searchsorted(some, (low, high)).tolist()
        beyond = int(some[last]) if last < len(some) else None
        before = int(some[first - 1]) if first else 0
        chosen.append(Run(first, int(some[:first].sum()), some[first:last], before, beyond))
    assert sum(len(run.inside) for run in chosen) < 0.1 * (len(leave) + len(enter))
    found = settle(problem, *chosen, limit)
    assert found is not None
    assert F(*found) == brute(counts, above, below, leave, enter, limit)


def test_a_run_that_misses_the_best_pair_settles_nothing() -> None:
    leave, enter = np.arange(1, 400), np.arange(1, 300)
    counts = np.array([len(leave), 3, 5, len(enter)])
    problem = Quotient(counts, *IOU, len(leave), len(enter))
    early = Run(0, 0, leave[:10].astype(np.int64), 0, 11)
    whole = Run(0, 0, enter.astype(np.int64), 0, None)
    assert settle(problem, early, whole, 20_000) is None
    late = Run(350, int(leave[:350].sum()), leave[350:].astype(np.int64), 350, None)
    assert settle(problem, late, whole, 20_000) is None


@given(st.lists(st.floats(0, 1e300, allow_subnormal=True), min_size=1, max_size=20))
def test_water_of_two_classes_is_the_definition_of_water_filling(margins: list[float]) -> None:
    from robspec.kernels.knapsack import _two

    got = water(np.array(margins))
    for d, item in zip(margins, got.tolist(), strict=True):
        expected = water_filling(0.0, [d])
        assert item == expected == _two.entering(d)


@pytest.mark.parametrize("patches", [False, True])
def test_large_images_are_answered_without_their_lists(patches: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 1024 x 1024 neither margins nor lists are made, and the answers are those of making them."""
    generator = torch.Generator().manual_seed(1)
    side = 1024
    logits = torch.randn(1, 2, side, side, generator=generator)
    if patches:
        coarse = torch.randn(1, 2, 32, 32, generator=generator) * 3
        logits = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear") + 0.1 * logits
    wrong = torch.rand(1, side, side, generator=generator) < 0.1
    labels = torch.where(wrong, 1 - logits.argmax(1), logits.argmax(1))
    correct = LogitsBatch(logits, labels, Items.CORRECT, 255)
    classes = LogitsBatch(logits, labels, Items.CLASS, 255, inside=(1,), water=True)
    full, lists = cpu.CpuPrepared(correct), _cpu_classes._in_full(classes)
    monkeypatch.setattr(cpu, "CpuPrepared", None)
    monkeypatch.setattr(_cpu_classes, "_in_full", None)
    for eps in (F(1), F(8), F(60), F(200)):
        budget = Budget.of(eps, F(1), F(2), side**2, single=False)
        enter = Budget.of(eps, F(1), F(2), side**2, single=False, squared=True)
        assert cpu.BACKEND.prepare(correct).flips([budget]).tolist() == full.flips([budget]).tolist()
        read = cpu.BACKEND.prepare_class(classes)
        assert isinstance(read, Windowed)
        found = read.least_quotient(0, budget, enter, (True, True), *IOU)
        mine, others = (affordable(x, y) for x, y in zip(lists.lists(0, budget, enter), (budget, enter), strict=True))
        counts = np.array([int(x[0]) for x in (lists.tp, lists.fp, lists.fn, lists.tn)])
        assert found is not None
        assert F(*found) == brute(counts, *IOU, mine, others, budget.limit)


@pytest.mark.usefixtures("small")
def test_a_wrong_guess_costs_time_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows that a budget does not end in are seen through."""
    logits = torch.randn(1, 2, 40, 40, generator=torch.Generator().manual_seed(2))
    batch = LogitsBatch(logits, logits.argmax(1), Items.CORRECT)
    budget = [Budget.of(F(4), F(1), F(2), 1600, single=False)]
    expected = REFERENCE.prepare(batch).flips(budget).tolist()
    for window in ((0, 0), (0, _pair.bits(0.01)), (_pair.bits(3.0), BEYOND), (BEYOND - 1, BEYOND), (0, BEYOND)):
        monkeypatch.setattr("robspec.kernels.knapsack._cpu_late.around", lambda *_, told=window: told)
        assert cpu.BACKEND.prepare(batch).flips(budget).tolist() == expected


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_is_told(value: float) -> None:
    """Sums of finite logits that overflow are no reason to doubt them."""
    logits = torch.zeros(2, 2, 30, 30)
    logits[:, 0] = 1.0
    logits[1, :, 3, 4] = value
    labels = torch.zeros(2, 30, 30, dtype=torch.int64)
    budget = [Budget.of(F(4), F(1), F(2), 900, single=False)]
    batch = LogitsBatch(logits, labels, Items.CORRECT)
    got = cpu.BACKEND.prepare(batch)
    finite = 2 if np.isfinite(value) else 1
    assert got.flips(budget)[:finite].tolist() == REFERENCE.prepare(batch).flips(budget)[:finite].tolist()
    assert got.finite.tolist() == [True, bool(np.isfinite(value))]
    read = cpu.BACKEND.prepare_class(LogitsBatch(logits, labels, Items.CLASS, inside=(1,)))
    assert read.finite.tolist() == [True, bool(np.isfinite(value))]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("value", [1e10, 1e18, 3e38])
def test_a_dear_pixel_that_no_guess_knows_of_is_not_bought(value: float) -> None:
    """Every other pixel is bought; this one alone costs more than integers of 64 bits hold."""
    logits = torch.zeros(1, 2, 40, 40)
    logits[:, 0] = 0.25
    logits[0, 0, 21, 17] = value
    batch = LogitsBatch(logits, torch.zeros(1, 40, 40, dtype=torch.int64), Items.CORRECT)
    classes = LogitsBatch(logits, torch.zeros(1, 40, 40, dtype=torch.int64), Items.CLASS, inside=(1,), water=True)
    for eps in (F(8), F(10**9)):
        budget = Budget.of(eps, F(1), F(2), 1600, single=False)
        enter = Budget.of(eps, F(1), F(2), 1600, single=False, squared=True)
        assert (
            cpu.BACKEND.prepare(batch).flips([budget]).tolist() == REFERENCE.prepare(batch).flips([budget]).tolist()
        )
        read = cpu.BACKEND.prepare_class(classes)
        assert isinstance(read, Windowed)
        specificity = (np.array([0, 0, 0, 1]), np.array([0, 1, 0, 1]))
        found = read.least_quotient(0, budget, enter, (True, True), *specificity)
        _, others = REFERENCE.prepare_class(classes).lists(0)
        least = brute(np.array([0, 0, 0, 1600]), *specificity, np.empty(0), affordable(others, enter), budget.limit)
        assert found is None or F(*found) == least


@pytest.mark.usefixtures("small")
def test_passes_are_not_taken_without_end() -> None:
    logits = torch.randn(1, 2, 40, 40, generator=torch.Generator().manual_seed(2))
    batch = LogitsBatch(logits, logits.argmax(1), Items.CORRECT)
    got, expected = cpu.BACKEND.prepare(batch), REFERENCE.prepare(batch)
    assert isinstance(got, LatePrepared)
    for n in range(2 * PASSES):
        budget = [Budget.of(F(n + 1, 2), F(1), F(2), 1600, single=False)]
        assert got.flips(budget).tolist() == expected.flips(budget).tolist()
        assert (got._full is not None) == (n >= PASSES)

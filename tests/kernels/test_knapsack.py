"""Every backend equals the integer reference, and the reference never certifies what enumeration refutes."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robspec.kernels.knapsack import Backend, Items, LogitsBatch, backends
from robspec.kernels.knapsack.budget import Budget
from robspec.kernels.knapsack.reference import count_flips
from tests.examples import WRITTEN
from tests.kernels.available import BACKENDS, COMPILED, FEW, NATIVE, REFERENCE, TRITON, UNTRACED
from tests.kernels.oracle import exact_cost, most_flips, predict

NORMS: list[Fraction | None] = [Fraction(1), Fraction(2), None]
BUDGETS = [Fraction(x) for x in ("0", "1e-9", "0.01", "0.1", "0.37", "1", "2.5", "40", "1e9")]


def budgets(norm: Fraction | None, pixels: int, single: bool, constant: Fraction = Fraction(1)) -> list[Budget]:
    return [Budget.of(eps, constant, norm, pixels, single=single) for eps in BUDGETS]


def assert_equal(
    batch: LogitsBatch, norm: Fraction | None, constant: Fraction = Fraction(1), chosen: list[Backend] = BACKENDS
) -> None:
    expected = REFERENCE.prepare(batch)
    ask = budgets(norm, expected.pixels, expected.single, constant)
    flips = expected.flips(ask)
    targets = np.stack([np.array([0, 1, n // 2, n, n + 1]) for n in expected.items]).astype(np.int64)
    radii = expected.radii(targets, constant, norm)
    for backend in chosen:
        got = backend.prepare(batch)
        for field in ("finite", "items", "valid"):
            np.testing.assert_array_equal(
                getattr(got, field), getattr(expected, field), err_msg=f"{backend.name} {field}"
            )
        assert (got.pixels, got.single) == (expected.pixels, expected.single)
        np.testing.assert_array_equal(got.flips(ask), flips, err_msg=backend.name)
        np.testing.assert_array_equal(got.radii(targets, constant, norm), radii, err_msg=backend.name)


@st.composite
def batches(draw: Any) -> LogitsBatch:
    b, k = draw(st.integers(1, 2)), draw(st.sampled_from([1, 2, 3, 7]))
    h, w = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    dtype = draw(st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]))
    grid = st.sampled_from([0.0, 0.5, 1.0, 1.0000001, -1.0, 3.0, 1e-40, 65000.0, -65000.0])
    wide = st.floats(-1e4, 1e4, width=16)
    values = draw(st.lists(st.one_of(grid, wide), min_size=b * k * h * w, max_size=b * k * h * w))
    logits = torch.tensor(values, dtype=torch.float64).to(dtype).reshape(b, k, h, w)
    labels = draw(st.lists(st.sampled_from([*range(max(k, 2)), 255]), min_size=b * h * w, max_size=b * h * w))
    items = draw(st.sampled_from([Items.CORRECT, Items.PREDICTED]))
    ignore = draw(st.sampled_from([255, 0, None]))
    y = torch.tensor(labels).reshape(b, h, w)
    if items is Items.PREDICTED and draw(st.booleans()):
        return LogitsBatch(logits, None, items)
    return LogitsBatch(logits, y, items, ignore)


class TestEquality:
    """Sum in int64 against 2^40: order-independent, deterministic, equal on every backend."""

    @settings(phases=UNTRACED)
    @given(batches(), st.sampled_from(NORMS), st.sampled_from([Fraction(1), Fraction(13, 2), Fraction(0)]))
    def test_random(self, batch: LogitsBatch, norm: Fraction | None, constant: Fraction) -> None:
        assert_equal(batch, norm, constant, NATIVE)

    @settings(phases=UNTRACED, max_examples=FEW)
    @given(batches(), st.sampled_from(NORMS), st.sampled_from([Fraction(1), Fraction(13, 2), Fraction(0)]))
    def test_random_triton(self, batch: LogitsBatch, norm: Fraction | None, constant: Fraction) -> None:
        assert_equal(batch, norm, constant, TRITON)

    @pytest.mark.parametrize("norm", NORMS)
    @pytest.mark.parametrize("layout", ["contiguous", "channels_last", "transposed", "sliced", "expanded"])
    def test_strides(self, norm: Fraction | None, layout: str) -> None:
        torch.manual_seed(0)
        logits = torch.randn(2, 5, 12, 10)
        if layout == "channels_last":
            logits = logits.to(memory_format=torch.channels_last)
        elif layout == "transposed":
            logits = torch.randn(2, 5, 10, 12).transpose(2, 3)
        elif layout == "sliced":
            logits = torch.randn(2, 5, 24, 30)[:, :, ::2, ::3]
        elif layout == "expanded":
            logits = torch.randn(1, 5, 12, 10).expand(2, -1, -1, -1)
        labels = torch.randint(0, 5, (2, 12, 10))
        # How logits are read has nothing to do with the norm, and Triton's interpreter is slow.
        chosen = BACKENDS if norm is None else NATIVE
        assert_equal(LogitsBatch(logits, labels, Items.CORRECT), norm, chosen=chosen)
        assert_equal(LogitsBatch(logits, None, Items.PREDICTED), norm, chosen=chosen)

    @pytest.mark.parametrize("norm", NORMS)
    @pytest.mark.parametrize(
        "case", ["all equal costs", "one pixel", "none correct", "all ignored", "huge", "subnormal", "near ties"]
    )
    def test_adversarial(self, norm: Fraction | None, case: str) -> None:
        torch.manual_seed(1)
        labels = torch.zeros(1, 19, 31, dtype=torch.int64)
        logits = torch.zeros(1, 3, 19, 31)
        logits[:, 0] = 1.0
        if case == "one pixel":
            labels, logits = labels[:, :1, :1], logits[:, :, :1, :1]
        elif case == "none correct":
            labels += 1
        elif case == "all ignored":
            labels += 255
        elif case == "huge":
            logits[:, 0] = torch.finfo(torch.float32).max
            logits[:, 1:] = torch.finfo(torch.float32).min
        elif case == "subnormal":
            logits[:, 0] = torch.rand(19, 31) * 1e-39
        elif case == "near ties":
            logits[:, 0] = 1.0 + torch.randint(0, 3, (19, 31)) * 2.0**-23
            logits[:, 1] = 1.0
        # Triton's interpreter is slow: one norm there, every norm in the deep profile.
        chosen = BACKENDS if norm == Fraction(2) or settings().max_examples > WRITTEN else NATIVE
        assert_equal(LogitsBatch(logits, labels, Items.CORRECT, 255), norm, chosen=chosen)
        assert_equal(LogitsBatch(logits, None, Items.PREDICTED), norm, chosen=chosen)

    def test_more_pixels_than_one_chunk_and_the_same_bits_twice(self) -> None:
        torch.manual_seed(2)
        # Triton's chunks are 512 pixels here, those of the others 2048.
        for chosen, h, w in ((NATIVE, 70, 91), (TRITON, 23, 25)):
            logits, labels = torch.randn(2, 4, h, w), torch.randint(0, 4, (2, h, w))
            batch = LogitsBatch(logits, labels, Items.CORRECT)
            assert_equal(batch, Fraction(2), chosen=chosen)
            ask = budgets(Fraction(2), h * w, False)
            for backend in chosen:
                first, second = backend.prepare(batch).flips(ask), backend.prepare(batch).flips(ask)
                np.testing.assert_array_equal(first, second)

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("k", [1, 2, 5])
    def test_non_finite_logits_are_seen(self, bad: float, k: int) -> None:
        for items in (Items.CORRECT, Items.PREDICTED):
            logits = torch.zeros(3, k, 50, 50)
            logits[1, k - 1, 49, 49] = bad
            labels = torch.zeros(3, 50, 50, dtype=torch.int64)
            for backend in BACKENDS:
                assert backend.prepare(LogitsBatch(logits, labels, items)).finite.tolist() == [True, False, True]


def assert_galois(backend: Backend, batch: LogitsBatch, norm: Fraction | None, *, every: bool) -> None:
    """Ask at each radius and just beyond it, for every number of flips or for the least, the middle and the most."""
    prepared = backend.prepare(batch)
    most = int(prepared.items.max())
    wanted = list(range(1, most + 1)) if every else sorted({1, (most + 1) // 2, most} - {0})
    if not wanted:
        return
    radii = prepared.radii(np.array([wanted] * len(prepared.items)), Fraction(3), norm)
    for image, items in enumerate(prepared.items.tolist()):
        radius = [float(r) for r, n in zip(radii[image], wanted, strict=True) if n <= items]
        asked = [*radius, *(math.nextafter(r, math.inf) for r in radius)]
        ask = [Budget.of(Fraction(e), Fraction(3), norm, prepared.pixels, single=prepared.single) for e in asked]
        flips = prepared.flips(ask)[image].tolist()
        for n, r, at, beyond in zip(wanted, radius, flips, flips[len(radius) :], strict=False):
            assert at < n or r == 0.0
            assert beyond >= n


class TestTruth:
    """Everything below is a bound over the relaxed set: the bound never says fewer flips than are possible."""

    @settings(phases=UNTRACED)
    @given(
        st.integers(1, 3).flatmap(
            lambda k: st.lists(st.lists(st.floats(-4, 4, width=32), min_size=k, max_size=k), min_size=1, max_size=7)
        ),
        st.lists(st.integers(0, 2), min_size=7, max_size=7),
        st.fractions(min_value=0, max_value=8, max_denominator=100),
        st.sampled_from([1, 2, None]),
        st.sampled_from([Fraction(1), Fraction(5, 2)]),
    )
    def test_brute_force(
        self, rows: list[list[float]], raw: list[int], eps: Fraction, q: int | None, constant: Fraction
    ) -> None:
        k = len(rows[0])
        labels = [y % max(k, 2) for y in raw[: len(rows)]]
        norm = None if q is None else Fraction(q)
        logits = torch.tensor(rows, dtype=torch.float32).T.reshape(1, k, 1, len(rows))
        batch = LogitsBatch(logits, torch.tensor(labels).reshape(1, 1, -1), Items.CORRECT)
        costs = [exact_cost(p, y, q) for p, y in zip(rows, labels, strict=True) if predict(p) == y]
        truth = most_flips(costs, eps * constant, q)
        budget = Budget.of(eps, constant, norm, len(rows), single=k == 1)
        slack = Budget.of(eps * (1 + Fraction(1, 2**30)), constant, norm, len(rows), single=k == 1)
        for backend in NATIVE:  # Triton's equals theirs
            prepared = backend.prepare(batch)
            assert prepared.items[0] == len(costs)
            flips = int(prepared.flips([budget])[0, 0])
            assert truth <= flips
            assert flips <= most_flips(costs, eps * constant * (1 + Fraction(1, 2**30)), q)
            assert flips <= prepared.flips([slack])[0, 0]

    @given(batches(), st.sampled_from(NORMS))
    def test_galois(self, batch: LogitsBatch, norm: Fraction | None) -> None:
        """For counting families: fewer than n flips at eps <=> eps <= returned R (MATH.md section 8)."""
        for backend in NATIVE:
            assert_galois(backend, batch, norm, every=True)

    @settings(phases=UNTRACED, max_examples=FEW // 2)
    @given(batches(), st.sampled_from(NORMS))
    def test_galois_triton(self, batch: LogitsBatch, norm: Fraction | None) -> None:
        for backend in TRITON:
            assert_galois(backend, batch, norm, every=False)

    def test_radius_counts_exactly_the_flips_it_names(self) -> None:
        """A count rounded up and then used as a zero-based index gives one pixel too many (PEERS.md, 2)."""
        logits = torch.tensor([[[[1.0, 2.0, 4.0]], [[0.0, 0.0, 0.0]]]])
        batch = LogitsBatch(logits, torch.zeros(1, 1, 3, dtype=torch.int64), Items.CORRECT)
        truth = [math.sqrt(0.5), math.sqrt(2.5), math.sqrt(10.5)]
        for backend in BACKENDS:
            got = backend.prepare(batch).radii(np.array([[1, 2, 3, 4]]), Fraction(1), Fraction(2))[0]
            assert got[:3] == pytest.approx(truth, rel=1e-9)
            assert all(g <= t for g, t in zip(got, truth, strict=False))
            assert got[3] == math.inf

    @pytest.mark.skipif(not COMPILED, reason="takes minutes uncompiled")
    def test_running_sums_do_not_drift(self) -> None:
        """Running sums in float32 against an unrounded budget (PEERS.md, 9): 10^6 equal costs, one too many."""
        n = 10**6
        logits = torch.zeros(1, 2, 1000, 1000)
        logits[:, 0] = 1.0
        batch = LogitsBatch(logits, torch.zeros(1, 1000, 1000, dtype=torch.int64), Items.CORRECT)
        prepared = backends()["cpu"].prepare(batch)
        for wanted in (1, 333_333, 999_999, n):
            radius = float(prepared.radii(np.array([[wanted]]), Fraction(1), Fraction(2))[0, 0])
            assert Fraction(radius) ** 2 <= Fraction(wanted, 2)
            assert radius == pytest.approx(math.sqrt(wanted / 2), rel=1e-6)

    def test_ties_follow_the_first_index(self) -> None:
        logits = torch.tensor([[[[1.0, 1.0]], [[1.0, 1.0]]]])
        labels = torch.tensor([[[0, 1]]])
        for backend in BACKENDS:
            prepared = backend.prepare(LogitsBatch(logits, labels, Items.CORRECT))
            assert prepared.items.tolist() == [1]
            zero = Budget.of(Fraction(0), Fraction(1), Fraction(2), 2, single=False)
            assert prepared.flips([zero]).tolist() == [[1]]


class TestContract:
    """Wrong arguments are refused at the one validation point."""

    @pytest.mark.parametrize(
        ("shape", "labels"),
        [((2, 3, 4), (2, 4)), ((1, 2, 0, 4), (1, 0, 4)), ((1, 2, 3, 4), (1, 4, 3)), ((1, 2, 3, 4), None)],
    )
    def test_shapes(self, shape: tuple[int, ...], labels: tuple[int, ...] | None) -> None:
        y = None if labels is None else torch.zeros(labels, dtype=torch.int64)
        with pytest.raises(ValueError, match="must be"):
            LogitsBatch(torch.zeros(shape), y, Items.CORRECT)

    def test_dtypes(self) -> None:
        with pytest.raises(ValueError, match="float"):
            LogitsBatch(torch.zeros(1, 2, 3, 3, dtype=torch.int64), None, Items.PREDICTED)
        with pytest.raises(ValueError, match="int64"):
            LogitsBatch(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3), Items.CORRECT)


def test_an_infinite_margin_under_an_unbounded_budget_flips() -> None:
    """Float64 logits can be so far apart that their margin overflows; a budget beyond everything still flips them."""
    logits = torch.tensor([1.7e308, -1.7e308], dtype=torch.float64).reshape(1, 2, 1, 1)
    batch = LogitsBatch(logits, torch.zeros(1, 1, 1, dtype=torch.int64), Items.CORRECT)
    unbounded = Budget.of(Fraction(10) ** 400, Fraction(1), Fraction(2), 1, single=False)
    for backend in BACKENDS:
        assert backend.prepare(batch).flips([unbounded]).tolist() == [[1]], backend.name
        assert backend.prepare(batch).flips([unbounded] * 5).tolist() == [[1] * 5], backend.name


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("norm", [Fraction(1), Fraction(2)])
def test_a_wide_window_before_a_narrow_one(norm: Fraction, order: int) -> None:
    """The first budget reorders the margins; the second must not look for them where they were."""
    generator = np.random.default_rng(5)
    for cheap in (200, 2000, 5000):
        margins = np.concatenate([2.0 ** generator.uniform(-12, -8, cheap), generator.uniform(1, 1.03, 7000 - cheap)])
        spent = np.cumsum(np.sort(margins if norm == 1 else margins**2 / 2))
        logits = torch.zeros(1, 2, 1, 7000, dtype=torch.float64)
        logits[0, 0, 0] = torch.from_numpy(generator.permutation(margins))
        batch = LogitsBatch(logits, torch.zeros(1, 1, 7000, dtype=torch.int64), Items.CORRECT)
        reach = [Fraction(float(spent[n] ** (1 / norm))) for n in (6900, cheap // 2)][::order]
        ask = [Budget.of(eps, Fraction(1), norm, 7000, single=False) for eps in reach]
        expected = [count_flips(margins.tolist(), budget) for budget in ask]
        for backend in NATIVE:
            assert backend.prepare(batch).flips(ask)[0].tolist() == expected, backend.name

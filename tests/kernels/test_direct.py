"""Functions of the kernels called one by one, compared with the reference or worked out by hand."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from robspec.kernels import _jit
from robspec.kernels.knapsack import (
    Items,
    LogitsBatch,
    _classes,
    _histogram,
    _margins,
    _select,
    array,
    cpu,
    reference,
)
from robspec.kernels.knapsack._cpu_classes import SingleClass
from robspec.kernels.knapsack._spending import Spending
from robspec.kernels.knapsack.budget import Budget
from robspec.kernels.knapsack.cpu import _Compiled
from robspec.kernels.knapsack.reference import count_flips, water_filling
from robspec.kernels.knapsack.search import largest_certifying
from tests.kernels.available import COMPILED

F = Fraction


@pytest.mark.parametrize("seed", range(20))
def test_water_filling_over_many_pixels_is_that_of_each(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, ahead = int(rng.integers(1, 6)), int(rng.integers(1, 5))
    gaps = rng.choice([-1.0, 0.0, 0.5, 1.0, 3.0, 10.0], size=(ahead, count + 2))
    level, number, total, above, cost = np.full((5, count + 2), np.nan)
    level[:count] = 0
    _classes.water_levels(gaps, count, level, number, total, above)
    _classes.water_costs(gaps, count, level, cost)
    for i in range(count):
        # The reference takes the gaps of logits; behind is at 0.
        assert cost[i] == water_filling(0.0, gaps[:, i].tolist())
    assert np.isnan(level[count:]).all()
    assert np.isnan(cost[count:]).all()


@pytest.mark.parametrize("q", [1, 2])
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("eps", [F(1, 3), F(7, 2), F(10**9), F(1, 2**700)])
def test_units_are_rounded_down_from_the_exact_number(q: int, single: bool, eps: Fraction) -> None:
    for pixels, bits in ((4, 40), (2**23, 39)):
        budget = Budget.of(eps, F(3, 2), F(q), pixels, single=single)
        assert budget.limit == 2**bits
        assert budget.exponent == q
        spend = max((eps * F(3, 2)) ** q, F(1, 2**960))
        exact = 2**bits * (1 if single else F(2) ** (1 - q)) / spend * (1 - F(1, 2**45))
        assert F(budget.scale) <= exact < F(np.nextafter(budget.scale, np.inf))
    squared = Budget.of(eps, F(3, 2), F(2), 4, single=single, squared=True)
    assert (squared.exponent, squared.limit) == (1, 2**40)
    exact = 2**40 / max((eps * F(3, 2)) ** 2, F(1, 2**960)) * (1 - F(1, 2**45))
    assert F(squared.scale) <= exact < F(np.nextafter(squared.scale, np.inf))


@pytest.mark.parametrize(("single", "factor"), [(False, 2), (True, 1)])
def test_the_largest_margin_of_the_largest_norm_is_rounded_up(single: bool, factor: int) -> None:
    for eps in (F(1, 3), F(5), F(1, 2**900)):
        budget = Budget.of(eps, F(3, 2), None, 4, single=single)
        exact = factor * eps * F(3, 2) * (1 + F(1, 2**50))
        assert (budget.exponent, budget.limit) == (0, 0)
        assert F(np.nextafter(budget.scale, 0)) < exact <= F(budget.scale)
    assert Budget.of(F(1), F(0), None, 4, single=single) == Budget(0, 0.0, 0)
    assert Budget.of(F(0), F(1), F(1), 4, single=single) == Budget(0, 0.0, 0)


def test_what_a_budget_refuses() -> None:
    for eps, constant, q, squared in ((-1, 1, 2, False), (1, -1, 2, False), (1, 1, 3, False), (1, 1, 1, True)):
        with pytest.raises(ValueError, match=r"negative|kernel|squared"):
            Budget.of(F(eps), F(constant), F(q), 4, single=False, squared=squared)
    with pytest.raises(ValueError, match="squared"):
        Budget.of(F(1), F(1), None, 4, single=False, squared=True)


@pytest.mark.parametrize("steps", [_classes, array, reference])
def test_the_least_quotient_by_hand(steps: Any) -> None:
    none = np.array([], dtype=np.int64)
    counts = np.array([2, 1, 1, 2], dtype=np.int64)
    iou, union = np.array([1, 0, 0, 0]), np.array([1, 1, 1, 0])
    for leave, enter, limit, expected in (
        (none, none, 5, (2, 4)),
        (np.array([3]), none, 3, (1, 4)),
        (np.array([4]), none, 3, (2, 4)),
        (none, np.array([1, 2]), 3, (2, 6)),
        (np.array([2]), np.array([1, 2]), 3, (1, 5)),
        (np.array([2, 2]), np.array([0, 2]), 4, (0, 5)),
    ):
        n, d, vanishes = steps.worst_quotient(leave, enter, limit, counts, iou, union)
        assert (F(int(n), int(d)), vanishes) == (F(*expected), False)
    lost, rest = np.array([0, 0, -1, 0]), np.array([0, 0, 1, 1])
    zero = np.array([1, 0, 0, 1], dtype=np.int64)
    n, d, vanishes = steps.worst_quotient(none, np.array([1]), 1, zero, lost, rest)
    assert vanishes
    assert (n, d) == (0, 0)
    n, d, vanishes = steps.worst_quotient(np.array([1]), np.array([1]), 1, zero, lost, rest)
    assert vanishes
    assert F(int(n), int(d)) == F(-1, 2)
    # A denominator that vanishes for the second choice, of four.
    n, d, vanishes = steps.worst_quotient(
        np.array([1, 1, 1]), none, 9, np.array([3, 0, 0, 0]), iou, np.array([1, 0, -2, 3])
    )
    assert vanishes
    assert F(int(n), int(d)) == min(F(3 - k, 3 - 3 * k) for k in (0, 2, 3))
    # A denominator of the other sign.
    n, d, _ = steps.worst_quotient(none, none, 1, counts, iou, -union)
    assert F(int(n), int(d)) == F(-2, 4)


@pytest.mark.parametrize("exponent", [1, 2])
def test_sums_that_threads_share_are_those_of_whole_numbers(exponent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(exponent)
    items = np.abs(rng.normal(size=37))
    budget = Budget(exponent, 1000.0, 2000)
    each = [min(math.floor(F(float(x**exponent * 1000.0))), 2001) for x in items]
    monkeypatch.setattr(cpu, "_ONE_THREAD", 5)
    spending = _Compiled(items, F(1), F(exponent), 37, single=False)
    assert spending._sum(items, budget) == sum(each)
    sums = np.full(4, -1, dtype=np.int64)
    _select.total(1, 3, items, exponent, 1000.0, 2000, sums)
    assert sums.tolist() == [-1, sum(each[10:20]), sum(each[20:30]), -1]


def test_counts_of_a_worker_are_those_of_all_its_chunks() -> None:
    rng = np.random.default_rng(0)
    pixels = 2 * _margins.CHUNK + 7
    z = rng.integers(-2, 3, (1, 3, 1, pixels)).astype(np.float32)
    labels = rng.integers(0, 3, (1, pixels))
    labels[0, ::5] = 255
    out, histogram = np.empty((1, pixels)), np.empty((1, 1, _margins.BUCKETS), np.int32)
    counts = np.empty((1, 1, 3), np.int64)
    _margins.read(0, 1, z, np.zeros(1, np.float32), labels, 255, False, out, histogram, counts)
    right = (labels[0] != 255) & (z[0, :, 0].argmax(axis=0) == labels[0])
    assert counts[0, 0].tolist() == [right.sum(), (labels != 255).sum(), 0]
    assert histogram.sum() == right.sum() == (~np.isnan(out)).sum()
    again, none = np.empty_like(out), np.empty((1, 1, 0), np.int32)
    _margins.read(0, 1, z, np.zeros(1, np.float32), labels, 255, False, again, none, counts)
    assert np.array_equal(again, out, equal_nan=True)
    later = np.full((1, 3, _margins.BUCKETS), -1, np.int32)
    _margins.count(0, 3, out, _margins.CHUNK, later)
    assert np.array_equal(later.sum(axis=1), histogram[0])
    _margins.count(1, 2, out[:, : _margins.CHUNK + 3], 2 * _margins.CHUNK, later)
    assert later[0, 1].sum() == 0


def test_an_image_that_is_not_finite_has_no_lists() -> None:
    z = torch.tensor([[0.0, 1.0], [1.0, float("nan")]], dtype=torch.float64).reshape(1, 2, 1, 2)
    batch = LogitsBatch(z, torch.zeros(1, 1, 2, dtype=torch.int64), Items.CLASS, 255, inside=(0,))
    found = SingleClass(batch)
    assert not found.finite[0]
    assert [part.size for part in found.lists(0, None, None)[:2]] == [0, 0]


@pytest.mark.parametrize("seed", range(30))
def test_the_least_quotient_is_that_of_every_affordable_pair(seed: int) -> None:
    rng = np.random.default_rng(seed)
    leave, enter = (np.sort(rng.integers(0, 7, size=rng.integers(1, 5))) for _ in range(2))
    limit = int(rng.integers(6, 20))
    counts = np.array([len(leave), rng.integers(0, 3), rng.integers(0, 3), len(enter)], dtype=np.int64)
    # A numerator that a flip of either kind lowers, a denominator that grows.
    a, b, c, d, e, f = (int(n) for n in rng.integers(0, 3, size=6))
    above = np.array([a + c, d, c, b + d])
    below = np.array([a + c + 1, b + d + 2 + f, a + c + 1 + e, b + d + 1])
    values = []
    for x in range(len(leave) + 1):
        for y in range(len(enter) + 1):
            if int(leave[:x].sum()) + int(enter[:y].sum()) <= limit:
                cells = counts + np.array([-x, y, x, -y])
                values.append(F(int(above @ cells), int(below @ cells)))
    for steps in (_classes, array, reference):
        n, q, vanishes = steps.worst_quotient(leave, enter, limit, counts, above, below)
        assert F(int(n), int(q)) == min(values)
        assert not vanishes
    most = [np.zeros(len(leave) + 1, dtype=np.int64) for _ in range(3)]
    ways = (_classes, array, reference)
    found = [steps.frontier(leave, enter, limit, out) for steps, out in zip(ways, most, strict=True)]
    assert found[0] == found[1] == found[2]
    assert most[0][: found[0]].tolist() == most[1][: found[0]].tolist() == most[2][: found[0]].tolist()


def test_a_window_is_copied_whole_or_not_at_all() -> None:
    """A wrong count of what a worker has room for is noticed, and nothing is written beyond it."""
    margins = np.array([0.5, 3.0, np.nan, 1.0, 1.5, 0.0, 2.0, 1.25])
    ask = (1.0, 2.0, 1, 4.0, 2**40)

    def split(ends: list[int], room: int) -> tuple[bool, list[int], list[float]]:
        sums, inside = np.full(2, -1), np.full(room, -7.0)
        counted = np.array(ends)
        done = _select.split(0, 2, margins, margins.view(np.int64), *ask, 4, counted, sums, inside)
        return done, sums.tolist(), inside.tolist()

    assert split([1, 3], 3) == (True, [2, 0], [1.0, 1.5, 1.25])
    assert not split([1, 4], 4)[0]
    for ends in ([0, 2], [0, 0], [1, 2]):
        done, _, inside = split(ends, 3)
        assert not done
        assert inside[ends[-1] :] == [-7.0] * (3 - ends[-1])


def test_a_window_may_hold_every_margin_of_a_block() -> None:
    margins = np.concatenate([np.full(1500, 1.5), [0.25, 2.5]])
    sums, inside = np.full(1, -1), np.full(1500, -7.0)
    ask = (1.0, 2.0, 1, 4.0, 2**40)
    assert _select.split(0, 1, margins, margins.view(np.int64), *ask, margins.size, np.array([1500]), sums, inside)
    assert sums.tolist() == [1]
    assert (inside == 1.5).all()


@pytest.mark.parametrize("q", [1, 2])
@pytest.mark.parametrize("seed", range(12))
def test_the_histogram_brackets_how_far_a_budget_reaches(q: int, seed: int) -> None:
    """Margins below its smallest and above its largest bucket too."""
    rng = np.random.default_rng(seed)
    margins = np.sort(2.0 ** rng.uniform(-45, 27, size=rng.integers(1, 9)))
    eps = F(float(margins[rng.integers(margins.size)])) * F(int(rng.integers(1, 5)), 2)
    budget = Budget.of(eps, F(1), F(q), 9, single=False)
    edges = _histogram.edges()
    at = np.searchsorted(edges, margins, side="right") - 1
    first, last = _histogram.window(np.bincount(at, minlength=edges.size - 1), budget)
    fits = count_flips(margins.tolist(), budget)
    assert (at < first).sum() <= fits <= (at <= last).sum()


@pytest.mark.skipif(not COMPILED, reason="nothing is compiled")
def test_kept_machine_code_belongs_to_all_sources_together(tmp_path: Path) -> None:
    """A change in any file of the kernels changes where machine code is kept."""
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.py").write_text("y = 1\n")
    seen = {_jit.digest(tmp_path)}
    (tmp_path / "b.py").write_text("y = 2\n")
    seen.add(_jit.digest(tmp_path))
    (tmp_path / "b.py").rename(tmp_path / "c.py")
    seen.add(_jit.digest(tmp_path))
    (tmp_path / "d.py").touch()
    seen.add(_jit.digest(tmp_path))
    (tmp_path / "below").mkdir()
    (tmp_path / "d.py").rename(tmp_path / "below" / "d.py")
    seen.add(_jit.digest(tmp_path))
    assert len(seen) == 5
    assert _jit.digest(Path(_jit.__file__).parent) in str(_select.split.stats.cache_path)


@pytest.mark.parametrize("by", [_Compiled, Spending])
@pytest.mark.parametrize("norm", [1, 2])
def test_items_set_aside_are_counted_once(norm: int, by: type[Spending]) -> None:
    """However often the range of budgets is narrowed, sums stay those of all items, and stay exact."""
    rng = np.random.default_rng(5)
    # In a range of a millionth the smallest cost the same, in one of a billionth those in the middle do too.
    parts = [rng.uniform(0.5, 1.0, size) * scale for size, scale in ((400, 1e-9), (40, 1e-5), (4, 1.0))]
    items = np.sort(np.concatenate(parts) ** (1 / norm))

    def certifies(eps: float) -> bool:
        budget = Budget.of(F(eps), F(1), F(norm), items.size, single=False)
        return count_flips(items.tolist(), budget) < items.size

    radius = largest_certifying(certifies, 1.0)
    narrowed = by(items, F(1), F(norm), items.size, single=False)
    sizes = []
    for spread in (2.0**-20, 2.0**-30):
        narrowed.narrow(radius * (1 - spread), radius * (1 + spread))
        sizes.append(narrowed._varying.size)
        for offset in (-0.9, -0.1, 0.0, 1e-9, 0.1, 0.9):
            eps = radius * (1 + offset * spread)
            assert narrowed.certifies(eps) == certifies(eps)
        assert not narrowed.certifies(math.nextafter(radius, math.inf))
    assert 400 > sizes[0] > sizes[1]


@pytest.mark.parametrize("items", [5, _select._BLOCK, 3 * _select._BLOCK + 5])
@pytest.mark.parametrize("spent", [0, 4])
def test_items_are_counted_up_to_the_limit_itself(items: int, spent: int) -> None:
    """Each costs 2 units: what meets the limit exactly still fits, in every block and at its ends."""
    margins = np.full(items, 2.0)
    counts = sorted({0, 1, 4, items - 1, items, *(n for n in (_select._BLOCK + d for d in (-1, 0, 1)) if n < items)})
    limits = np.array([spent + 2 * n + odd for n in counts for odd in (0, 1)])
    out = np.full(len(limits), -1)
    ones = np.ones(len(limits))
    _select.count_ascending(
        0, len(out), margins, ones.astype(np.int64), ones, limits, np.full(len(limits), spent), out
    )
    assert out.tolist() == [n for n in counts for _ in (0, 1)]

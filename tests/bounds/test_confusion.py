"""Counts, costs and worst values of one class set, each against the plainest way to compute it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from robspec.bounds.confusion import (
    Confusion,
    _evaluate,
    _linear,
    affordable,
    extreme,
    pairs,
    value_at,
    worst_value,
)
from robspec.ir.plans import Quotient
from robspec.ir.types import Metric
from robspec.kernels.knapsack.budget import Budget
from robspec.semantics.classify import Flip
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.formula import Polynomial, Ratio
from robspec.semantics.norm import L1, L2, LINF, Norm
from tests.bounds.language import metric

F = Fraction
IOU = metric("iou[c1]")
PRECISION = metric("precision[c1]")
FNR = metric("fnr[c1]")
ODD = metric("odd[c1]", 3, "metric odd(k) = TP[k] / (TP[k] + FN[k]) * (TN[k] + 1) / (FP[k] + TN[k] + 1)")
WRONG = metric("wrong[c1]", 3, "metric wrong(k) lower_is_better = FP[k] / (TP[k] + FP[k])")
MIXED = metric("mixed[c1]", 3, "metric mixed(k) = TP[k] / ((TP[k] + FN[k]) * (FP[k] + 1))")
LOST = metric("lost[c1]", 3, "metric lost(k) lower_is_better = FN[k] / (FN[k] + TN[k])")


def confusion(
    leave: list[float], enter: list[float], fp: int = 0, fn: int = 0, squared: bool = False, single: bool = False
) -> Confusion:
    """An image whose true positives and true negatives are the items given."""
    items = np.sort(np.array(leave, dtype=float)), np.sort(np.array(enter, dtype=float))
    return Confusion(
        tp=len(leave),
        fp=fp,
        fn=fn,
        tn=len(enter),
        leaves=len(leave),
        enters=len(enter),
        lists=lambda _leave, _enter: items,
        pixels=len(leave) + len(enter) + fp + fn,
        single=single,
        leave_squared=False,
        enter_squared=squared,
    )


def constant(norm: Norm, value: Fraction = F(1)) -> Constant:
    return Constant(value, norm, norm, ConstantStatus.PROVED)


def within(leave: list[int], enter: list[int], limit: int) -> set[tuple[int, int]]:
    """Every pair of numbers of flips some choice of items within the limit makes."""
    return {
        (a, b)
        for a, b in itertools.product(range(len(leave) + 1), range(len(enter) + 1))
        if sum(sorted(leave)[:a]) + sum(sorted(enter)[:b]) <= limit
    }


def test_affordable_rounds_down_and_leaves_out_only_what_the_limit_does_not_buy() -> None:
    items = np.array([0.0, 0.4, 1.0, 1.6, 2.0, 2.5, 3.0])
    assert affordable(items, Budget(1, 2.0, 4)).tolist() == [0, 0, 2, 3, 4]
    # 4.99... is rounded down to 4, which the limit buys; 5 it does not.
    assert affordable(np.array([2.49, 2.5]), Budget(1, 2.0, 4)).tolist() == [4]
    assert affordable(items, Budget(2, 1.0, 4)).tolist() == [0, 0, 1, 2, 4]
    assert affordable(items, Budget(2, 0.5, 4)).tolist() == [0, 0, 0, 1, 2, 3, 4]
    assert affordable(items, Budget(2, 1.0, 4)).dtype == np.int64


def test_affordable_of_items_and_scales_beyond_doubles() -> None:
    # Infinity times a scale of 0: the budget buys everything.
    assert affordable(np.array([1.0, np.inf]), Budget(1, 0.0, 4)).tolist() == [0, 0]
    assert affordable(np.array([1.0, np.inf]), Budget(1, 1.0, 4)).tolist() == [1]
    assert affordable(np.array([1.0, 1e200]), Budget(2, 1.0, 4)).tolist() == [1]
    with np.errstate(all="raise"):
        assert affordable(np.array([1e-200, 1e200]), Budget(2, 1.0, 4)).tolist() == [0]
        assert affordable(np.array([1e-200]), Budget(1, 1e-200, 4)).tolist() == [0]


@pytest.mark.parametrize("seed", range(6))
def test_pairs_are_the_frontier_of_what_is_affordable(seed: int) -> None:
    rng = np.random.default_rng(seed)
    leave, enter = (np.sort(rng.integers(0, 6, size=rng.integers(0, 5))) for _ in range(2))
    limit = int(rng.integers(0, 12))
    a, b = pairs(leave, enter, limit)
    possible = within(leave.tolist(), enter.tolist(), limit)
    most = {i: max(y for x, y in possible if x == i) for i, _ in possible}
    assert dict(zip(a.tolist(), b.tolist(), strict=True)) == most


@pytest.mark.parametrize("asked", [IOU, PRECISION, FNR, ODD, LOST, WRONG, MIXED], ids=lambda m: m.name)
@pytest.mark.parametrize("seed", range(6))
def test_the_worst_within_a_budget_is_the_worst_of_every_pair(asked: object, seed: int) -> None:
    rng = np.random.default_rng(seed)
    leave, enter = (np.sort(rng.integers(0, 6, size=rng.integers(1, 5))) for _ in range(2))
    image = confusion([1.0] * len(leave), [1.0] * len(enter), fp=int(rng.integers(3)), fn=int(rng.integers(3)))
    limit = int(rng.integers(0, 16))
    values = [
        value_at(asked, image.tp - a, image.fp + b, image.fn + a, image.tn - b)  # type: ignore[arg-type]
        for a, b in within(leave.tolist(), enter.tolist(), limit)
    ]
    expected = max(values) if asked.lower_is_better else min(values)  # type: ignore[attr-defined]
    kept_leave, kept_enter = leave[leave <= limit], enter[enter <= limit]
    assert image.finder(asked)(kept_leave, kept_enter, limit) == expected  # type: ignore[arg-type]


def test_a_denominator_brought_to_zero_is_the_worst_value() -> None:
    assert value_at(PRECISION, 0, 0, 2, 3) == worst_value(PRECISION) == 0
    assert value_at(LOST, 2, 0, 0, 0) == worst_value(LOST) == 1
    image = confusion([1.0], [], fn=1)
    assert image.finder(PRECISION)(np.array([2]), np.array([], dtype=np.int64), 2) == 0
    assert image.finder(PRECISION)(np.array([], dtype=np.int64), np.array([], dtype=np.int64), 1) == 1


def test_where_lower_is_better_a_vanished_denominator_is_the_highest_value() -> None:
    """Every other pair of flips leaves the share of false alarms at 0; with no pixel predicted it is undefined."""
    image = confusion([1.0, 1.0], [])
    none = np.array([], dtype=np.int64)
    assert image.finder(WRONG)(np.array([1, 1]), none, 1) == 0
    assert image.finder(WRONG)(np.array([1, 1]), none, 2) == 1
    # It may be undefined from the start.
    assert confusion([], [], fn=1).finder(WRONG)(none, none, 1) == 1
    assert confusion([], [], fn=1).finder(PRECISION)(none, none, 1) == 0


def test_the_worst_case_in_every_norm_counts_ties_and_the_budget_itself() -> None:
    image = confusion([0.0, 1.0, 2.0], [1.0, 4.0])
    # l_inf: a margin d needs d / 2.
    assert image.worst_case(IOU, F(0), constant(LINF)) == F(2, 3)
    assert image.worst_case(IOU, F(1, 2), constant(LINF)) == F(1, 4)
    assert image.worst_case(IOU, F(49, 100), constant(LINF)) == F(2, 3)
    assert image.worst_case(IOU, F(1), constant(LINF)) == 0
    # l1: d; two of 1 need 2.
    assert image.worst_case(IOU, F(1), constant(L1)) == F(1, 3)
    assert image.worst_case(IOU, F(2), constant(L1)) == F(1, 4)
    assert image.worst_case(IOU, F(2), constant(L1, F(1, 2))) == F(1, 3)
    # l2: d^2 / 2; 1/2 + 1/2 = 1, and + 2 = 3.
    assert image.worst_case(IOU, F(99, 100), constant(L2)) == F(1, 3)
    assert image.worst_case(IOU, F(1), constant(L2)) == F(1, 4)
    a, b = image.reachable(F(1), constant(L2))
    assert (a.tolist(), b.tolist()) == ([0, 1, 2], [1, 1, 1])
    a, b = image.reachable(F(1, 2), constant(LINF))
    assert (a.tolist(), b.tolist()) == ([2], [1])
    a, b = image.reachable(F(2), constant(LINF))
    assert (a.tolist(), b.tolist()) == ([3], [2])


def test_squared_items_and_single_logits_have_costs_of_their_own() -> None:
    # Entering costs 1 where items are squared distances, 1/2 where they are margins.
    assert confusion([9.0], [1.0], squared=True).worst_case(IOU, F(3, 4), constant(L2)) == 1
    assert confusion([9.0], [1.0], squared=True).worst_case(IOU, F(1), constant(L2)) == F(1, 2)
    assert confusion([9.0], [1.0]).worst_case(IOU, F(3, 4), constant(L2)) == F(1, 2)
    # Of a single logit, the distance itself.
    assert confusion([9.0], [1.0], single=True).worst_case(IOU, F(3, 4), constant(L2)) == 1
    assert confusion([9.0], [1.0], single=True).worst_case(IOU, F(3, 4), constant(LINF)) == 1
    assert confusion([9.0], [1.0], single=True).worst_case(IOU, F(1), constant(LINF)) == F(1, 2)
    leave, enter = confusion([1.0], [1.0], squared=True).budgets(F(2), constant(L2, F(3)))
    assert (leave.exponent, enter.exponent) == (2, 1)
    assert leave.limit == enter.limit == 2**40
    assert leave.scale == pytest.approx(2**40 / 72)
    assert enter.scale == pytest.approx(2**40 / 36)


def test_definedness_is_that_of_the_annotation() -> None:
    assert confusion([], [1.0], fp=1).value(IOU) is None
    assert confusion([], [1.0], fn=1).value(IOU) == 0
    assert confusion([1.0], []).value(IOU) == 1
    everywhere = metric("share[c1]", 3, "metric share(k) = TP[k] / N")
    assert everywhere.formula.defined is None
    assert not confusion([], []).defined(everywhere)
    for counts in ({"leave": [1.0], "enter": []}, {"leave": [], "enter": [1.0]}):
        assert confusion(**counts).defined(everywhere)  # type: ignore[arg-type]
    assert confusion([], [], fp=1).defined(everywhere)
    assert confusion([], [], fn=1).defined(everywhere)


def test_everything_flipped() -> None:
    image = confusion([1.0, 2.0], [1.0, 2.0, 3.0], fp=1, fn=1)
    a, b = image.everything()
    assert (a.tolist(), b.tolist()) == ([2], [3])
    assert image.worst(IOU, a, b) == 0
    assert image.worst(IOU, np.array([1, 0]), np.array([0, 3])) == F(1, 4)
    assert image.worst(FNR, np.array([1, 0]), np.array([0, 3])) == F(2, 3)


def test_extreme_is_exact_where_doubles_cannot_tell() -> None:
    # (2^60 + 1) / 2^61 and 2^60 / 2^61 are one double.
    big = metric("big[c1]", 3, f"metric big(k) = ({2**60} * TP[k] + FN[k]) / ({2**61} * TP[k] + {2**61} * FN[k])")
    column = lambda *n: np.array(n, dtype=np.int64)  # noqa: E731
    zero = column(0, 0)
    assert extreme(big, column(7, 6), zero, column(0, 1), zero) == F(6 * 2**60 + 1, 7 * 2**61)
    assert extreme(big, column(6, 7), zero, column(1, 0), zero) == F(6 * 2**60 + 1, 7 * 2**61)
    rng = np.random.default_rng(0)
    for asked in (IOU, PRECISION, FNR, ODD, LOST):
        for size in (1, 3, 50, 5000):
            counts = [rng.integers(0, 40, size=size) for _ in range(4)]
            values = [value_at(asked, *row) for row in np.stack(counts, axis=1).tolist()]
            assert extreme(asked, *counts) == (max(values) if asked.lower_is_better else min(values))


def test_neighbours_that_differ_in_the_last_place_are_all_looked_at() -> None:
    n = 2**27 + 1
    tp, fn = np.array([n - 1, n - 2, n - 3]), np.array([1, 1, 1])
    zero = np.zeros(3, dtype=np.int64)
    expected = min(F(int(t), int(t) + 1) for t in tp)
    assert extreme(IOU, tp, zero, fn, zero) == expected
    assert extreme(FNR, tp, zero, fn, zero) == 1 - expected


@pytest.mark.parametrize(
    "terms",
    [
        {(1, 0, 0, 0): 3, (0, 1, 0, 0): -2},
        {(2, 1, 0, 0): 5, (0, 0, 1, 3): -7, (0, 0, 0, 0): 1},
        {(1, 0, 0, 0): 2**60 + 1, (0, 1, 0, 0): -(2**60)},
        {(3, 0, 0, 0): 2**20 + 1, (0, 3, 0, 0): -(2**20)},
    ],
)
def test_doubles_are_as_near_as_their_error_says(terms: dict[tuple[int, int, int, int], int]) -> None:
    polynomial = Polynomial.of(terms)
    rng = np.random.default_rng(1)
    for top in (10, 10**5):
        counts = [rng.integers(0, top, size=20) for _ in range(4)]
        value, error = _evaluate(polynomial, *counts)
        exact = [polynomial.at(*row) for row in np.stack(counts, axis=1).tolist()]
        for v, e, x in zip(value.tolist(), error.tolist(), exact, strict=True):
            assert abs(F(v) - x) <= F(e)
            assert e <= 2.0**-39 * sum(abs(c) * top ** sum(p) for p, c in polynomial.terms)
        largest = sum(abs(c) * top ** sum(p) for p, c in polynomial.terms)
        if largest < 2**52:
            assert not error.any()


def test_products_are_taken_in_64_bits_only_where_they_fit() -> None:
    above, below = _linear(IOU, 10) or (None, None)
    assert above is not None
    assert below is not None
    assert (above.tolist(), below.tolist()) == ([1, 0, 0, 0], [1, 1, 1, 0])
    assert above.dtype == below.dtype == np.int64
    assert _linear(ODD, 10) is None
    assert _linear(MIXED, 10) is None
    with pytest.raises(ValueError, match="no formula"):
        _linear(metric("pixel_accuracy"), 10)
    assert _linear(IOU, 2**31 - 1) is not None
    assert _linear(IOU, 2**31) is None
    assert _linear(IOU, 0) is not None
    heavy = metric("heavy[c1]", 3, "metric heavy(k) = 3 * TP[k] / (3 * TP[k] + 5 * FP[k] + FN[k])")
    assert _linear(heavy, (2**31 - 1) // 5) is not None
    assert _linear(heavy, 2**31 // 5 + 1) is None


class _Batch:
    backend = "cpu"
    tp, fp, fn, tn = (np.array(n) for n in ([9, 2], [9, 1], [9, 4], [9, 3]))
    pixels, single, leave_squared, enter_squared = 10, True, True, False

    def lists(self, image: int, leave: object, enter: object) -> tuple[object, object]:
        return (image, "leave", leave), (image, "enter", enter)


@pytest.mark.parametrize(("without", "leaves", "enters"), [(None, 2, 3), (Flip.LEAVE, 0, 3), (Flip.ENTER, 2, 0)])
def test_one_image_of_a_batch(without: Flip | None, leaves: int, enters: int) -> None:
    image = Confusion.of(_Batch(), 1, without=without)  # type: ignore[arg-type]
    assert (image.tp, image.fp, image.fn, image.tn) == (2, 1, 4, 3)
    assert (image.leaves, image.enters) == (leaves, enters)
    assert (image.pixels, image.single, image.leave_squared, image.enter_squared) == (10, True, True, False)
    mine, others = image.lists("first", "second")  # type: ignore[arg-type]
    assert len(mine) == 0 if without is Flip.LEAVE else mine == (1, "leave", "first")
    assert len(others) == 0 if without is Flip.ENTER else others == (1, "enter", "second")


def over(metric: Metric, ratio: Ratio) -> Metric:
    return replace(metric, plan=Quotient(replace(metric.formula, ratio=ratio), metric.classes))


def test_doubles_that_put_two_values_in_the_wrong_order_are_not_believed() -> None:
    """In doubles 2^53 + 1 is 2^53: the first denominator is 2^37 instead of 2^37 + 2^20, the second 2^37 + 2^19."""
    below = Polynomial.of({(1, 0, 0, 0): 2**53 + 1, (0, 0, 1, 0): -(2**53), (0, 0, 0, 1): 2**19})
    asked = over(IOU, Ratio(Polynomial.count("FP"), below))
    tp, fp, fn, tn = (np.array(n) for n in ([2**20, 0], [2**30, 2**30], [2**20, 0], [2**18, 2**18 + 1]))
    assert extreme(asked, tp, fp, fn, tn) == F(2**30, 2**37 + 2**20)
    assert extreme(asked, tp[::-1], fp, fn[::-1], tn[::-1]) == F(2**30, 2**37 + 2**20)


def test_a_value_known_exactly_below_one_known_roughly() -> None:
    """The first denominator is known to within 2^34 of 2^37; the second, 2^37 + 2^31, exactly."""
    below = Polynomial.of({(1, 0, 0, 0): 2**53 + 1, (0, 0, 1, 0): -(2**53), (0, 0, 0, 1): 2**19})
    asked = over(IOU, Ratio(Polynomial.count("FP"), below))
    tp, fp, fn, tn = (np.array(n) for n in ([2**20, 0], [2**30, 2**30], [2**20, 0], [2**18, 2**18 + 2**12]))
    assert extreme(asked, tp, fp, fn, tn) == F(2**30, 2**37 + 2**31)


def test_many_equal_counts_are_looked_at_once() -> None:
    same = np.full(20_000, 3)
    assert extreme(IOU, same, same, same, same) == F(1, 3)


def test_leave_items_that_are_squared_distances() -> None:
    image = replace(confusion([4.0], [9.0]), leave_squared=True)
    assert image.worst_case(IOU, F(19, 10), constant(L2)) == 1
    assert image.worst_case(IOU, F(2), constant(L2)) == 0


def test_a_value_that_doubles_do_not_give_hides_no_other() -> None:
    """The first denominator is 1, in doubles 0."""
    below = Polynomial.of({(1, 0, 0, 0): 2**53 + 1, (0, 0, 1, 0): -(2**53), (0, 0, 0, 1): 1})
    asked = over(FNR, Ratio(Polynomial.count("FP"), below))
    tp, fp, fn, tn = (np.array(n) for n in ([1, 0], [1, 5], [1, 0], [0, 1]))
    assert extreme(asked, tp, fp, fn, tn) == 5
    assert extreme(replace(asked, lower_is_better=False), tp, fp, fn, tn) == 1


def test_the_reference_goes_on_in_plain_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what it answers is not decided by the code that it is compared with."""
    from robspec.kernels.knapsack import _classes

    def never(*_: object) -> None:
        raise AssertionError("compiled")

    plain = replace(confusion([2.0, 3.0], [1.0, 5.0], fp=1, fn=1), backend="reference")
    compiled = replace(plain, backend="cpu")
    wanted = [
        [c.worst_case(m, F(3), constant(norm)) for m in (IOU, ODD) for norm in (L1, L2)] for c in (plain, compiled)
    ]
    assert wanted[0] == wanted[1]
    reached = plain.reachable(F(3), constant(L2))
    monkeypatch.setattr(_classes, "frontier", never)
    monkeypatch.setattr(_classes, "worst_quotient", never)
    assert [plain.worst_case(m, F(3), constant(norm)) for m in (IOU, ODD) for norm in (L1, L2)] == wanted[0]
    assert [x.tolist() for x in plain.reachable(F(3), constant(L2))] == [x.tolist() for x in reached]
    for ask in (lambda: compiled.worst_case(IOU, F(3), constant(L2)), lambda: compiled.reachable(F(3), constant(L2))):
        with pytest.raises(AssertionError, match="compiled"):
            ask()


@pytest.mark.parametrize("norm", [L1, L2, LINF], ids=["l1", "l2", "linf"])
def test_lists_are_asked_for_no_further_than_the_budget(norm: Norm) -> None:
    asked: list[tuple[Budget | None, Budget | None]] = []
    plain = confusion([2.0, 3.0], [1.0, 5.0], fp=1, fn=1, squared=norm is L2)

    def spy(leave: Budget | None, enter: Budget | None) -> tuple[np.ndarray, np.ndarray]:
        asked.append((leave, enter))
        return plain.lists(leave, enter)

    spied = replace(plain, lists=spy)
    for ask in (lambda: spied.worst_case(IOU, F(3), constant(norm)), lambda: spied.reachable(F(3), constant(norm))):
        ask()
        assert asked.pop() == spied.budgets(F(3), constant(norm))
        assert asked == []


@pytest.mark.parametrize("asked", [ODD, WRONG], ids=["higher", "lower"])
def test_doubles_leave_few_counts_to_be_compared_exactly(asked: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[tuple[int, ...]] = []

    def spy(metric: Metric, *cells: int) -> Fraction:
        looked_at.append(cells)
        return value_at(metric, *cells)

    monkeypatch.setattr("robspec.bounds.confusion.value_at", spy)
    a = np.arange(1, 1001)
    found = extreme(asked, 2000 - a, a, a, 3000 - 2 * a)
    assert found == value_at(asked, 1000, 1000, 1000, 1000)
    assert looked_at == [(1000, 1000, 1000, 1000)]


def test_quotients_of_sums_are_searched_without_listing_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    items = confusion([2.0, 3.0], [1.0, 5.0], fp=1, fn=1)
    wanted = [items.worst_case(m, F(3), constant(L2)) for m in (IOU, FNR, PRECISION)]
    monkeypatch.delattr("robspec.bounds.confusion.pairs")
    assert [items.worst_case(m, F(3), constant(L2)) for m in (IOU, FNR, PRECISION)] == wanted
    with pytest.raises(NameError):
        items.worst_case(MIXED, F(3), constant(L2))

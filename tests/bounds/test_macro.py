"""The parts of the average over classes: prices, stretches and roundings, each against plain enumeration."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from robspec.bounds import macro, open_bound
from robspec.bounds.context import Context
from robspec.bounds.macro import _WHOLE, _best_price, _lagrangian, _Part, _parts, _power_of_16, _Table, round_out
from robspec.ir.plans import Mean, Quotient
from robspec.ir.types import Metric
from robspec.kernels.knapsack.budget import Budget
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L1, L2, LINF, Norm
from tests.bounds.language import metric
from tests.bounds.test_confusion import confusion
from tests.kernels.available import CPU

F = Fraction


def constant(norm: Norm, value: Fraction = F(1)) -> Constant:
    return Constant(value, norm, norm, ConstantStatus.PROVED)


def image(rows: list[list[float]], labels: list[int]) -> Context:
    logits = torch.tensor(rows, dtype=torch.float64).T.reshape(1, len(rows[0]), 1, -1)
    return Context(CPU, logits, torch.tensor(labels).reshape(1, 1, -1), 255)


def part(asked: Metric, leave: list[int], enter: list[int], limit: int, weight: Fraction = F(1, 2)) -> _Part:
    items = confusion([float(x) for x in leave], [float(x) for x in enter], fp=1, fn=1)
    return _Part(weight, asked, items, Budget(1, 1.0, limit))


def exact(asked: Metric, leave: list[int], enter: list[int], spend: int, weight: Fraction = F(1, 2)) -> Fraction:
    items = confusion([float(x) for x in leave], [float(x) for x in enter], fp=1, fn=1)
    mine = np.array(sorted(x for x in leave if x <= spend), dtype=np.int64)
    others = np.array(sorted(x for x in enter if x <= spend), dtype=np.int64)
    value = items.finder(asked)(mine, others, spend)
    return weight * F(int(value.numerator), int(value.denominator))


ASKED = [metric("iou[c1]"), metric("fnr[c1]"), metric("dice[c1]")]
ITEMS = [
    ([3, 5, 9, 40], [2, 2, 7]),
    ([0, 0, 6], []),
    ([], [1, 30, 31]),
    ([10, 11, 12, 13, 14, 15], [100, 101, 102]),
    ([70], [80]),
]


@pytest.mark.parametrize("asked", ASKED, ids=lambda m: m.name)
@pytest.mark.parametrize(("leave", "enter"), ITEMS)
def test_a_part_knows_its_worst_value_at_every_spend(asked: Metric, leave: list[int], enter: list[int]) -> None:
    limit = 64
    it = part(asked, leave, enter, limit)
    sign = -1 if asked.lower_is_better else 1
    for spend in range(limit + 1):
        truth = exact(asked, leave, enter, spend)
        assert 0 <= sign * (truth - F(it.value(spend))) <= F(1, 2**52)
    affordable = sum(x for x in (*leave, *enter) if x <= limit)
    assert it.spends[0] == 0
    assert it.spends[-1] == min(affordable, limit)
    assert it.spends == sorted(set(it.spends))
    assert it.values == [sign * it.value(s) for s in it.spends]
    # Doubling from the cheapest item on.
    assert len(it.spends) <= 2 + math.log2(limit)
    for a, b in itertools.pairwise(it.spends[1:]):
        assert b <= 2 * a


@pytest.mark.parametrize("asked", ASKED, ids=lambda m: m.name)
@pytest.mark.parametrize(("leave", "enter"), ITEMS)
@pytest.mark.parametrize("price", [0.0, 0.001, 0.01, 1.0])
def test_stretches_are_below_what_they_stand_for(
    asked: Metric, leave: list[int], enter: list[int], price: float
) -> None:
    """min over stretches of value + price * start is never above min over spends of g + price * spend."""
    limit = 64
    it = part(asked, leave, enter, limit)
    sign = -1 if asked.lower_is_better else 1
    truth = [sign * exact(asked, leave, enter, c) for c in range(limit + 1)]
    least = min(g + F(price) * c for c, g in enumerate(truth))
    for table in (it.coarse(), it.refined(price)):
        starts, values = table.starts, table.values
        assert len(starts) == len(values)
        assert starts[0] == 0
        for c, g in enumerate(truth):
            # Some stretch that begins no later is no better.
            assert any(s <= c and F(v) <= g for s, v in zip(starts.tolist(), values, strict=True))
        found = min(F(v) + F(price) * F(s) for s, v in zip(starts.tolist(), values, strict=True))
        assert found <= least
    # Refined until the minimum is decided: with a limit this small, to the unit.
    assert found >= least - F(price) - F(1, 2**40)


@pytest.mark.parametrize("budget", [0.0, 3.0, 9.0, 20.0, 47.5, 64.0])
def test_the_lagrangian_is_below_every_split_of_the_budget(budget: float) -> None:
    limit = 64
    for chosen in ((0, 1), (0, 2, 3), (3, 4), (1,)):
        asked = ASKED[0]
        parts = [part(asked, *ITEMS[i], limit, F(1, len(chosen))) for i in chosen]
        worth = [[exact(asked, *ITEMS[i], c, F(1, len(chosen))) for c in range(limit + 1)] for i in chosen]
        best = {0: F(0)}
        for table in worth:
            step: dict[int, Fraction] = {}
            for spent, value in best.items():
                for c, g in enumerate(table):
                    if spent + c <= budget and (spent + c not in step or step[spent + c] > value + g):
                        step[spent + c] = value + g
            best = step
        truth = min(best.values())
        bound = _lagrangian(parts, budget)[1]
        assert F(bound) <= truth
        # Not above, and not far below: the relaxation is convex in each part.
        hull = sum(min(t) for t in worth)
        assert bound >= float(hull) - 0.35
        if budget == 0.0:
            assert bound == pytest.approx(float(truth), abs=1e-6)


def test_the_lagrangian_keeps_its_slack() -> None:
    it = part(ASKED[0], [3, 5], [2], 64, F(1))
    best = max(it.coarse().values)
    assert _lagrangian([it], 0.0)[1] <= best - 2.0**-40 * (1 + best) * 0.999
    assert _lagrangian([it], 1e6)[1] < 0


@pytest.mark.parametrize("seed", range(8))
def test_the_best_price_is_evaluated_as_it_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tables = []
    for length in rng.integers(1, 6, size=3).tolist():
        spends = [0, *np.sort(rng.integers(1, 50, size=length - 1)).tolist()]
        tables.append(_Table(spends, np.sort(rng.random(length))[::-1].tolist()))
    budget = float(rng.integers(0, 60))

    def at(price: float) -> float:
        return sum(float(np.min(np.array(t.values) + price * t.starts)) for t in tables) - price * budget

    price, value = _best_price(tables, budget)
    assert price >= 0
    assert value == pytest.approx(at(price), abs=1e-12)
    assert value >= max(at(p) for p in (0.0, *np.exp(np.linspace(-30, 2, 400)).tolist())) - 1e-3


@pytest.mark.parametrize("value", [F(1), F(16), F(17), F(1, 16), F(1, 17), F(2**100), F(2**100 + 1), F(3, 2**77)])
def test_the_least_power_of_16(value: Fraction) -> None:
    power = _power_of_16(value)
    assert value <= power < 16 * value
    exponent = (power.numerator.bit_length() - power.denominator.bit_length()) // 4
    assert power == F(16) ** exponent


@pytest.mark.parametrize("value", [F(1, 3), F(-1, 3), F(1, 2), F(0), F(-1), F(2, 3), F(-2, 3)])
def test_rounding_out(value: Fraction) -> None:
    high, low = round_out(value, up=True), round_out(value, up=False)
    assert F(low) <= value <= F(high)
    if F(float(value)) == value:
        assert low == high == float(value)
    else:
        assert high == math.nextafter(low, math.inf)


def mean_over(classes: tuple[int, ...]) -> Metric:
    asked = metric("mean_iou")
    return replace(asked, plan=Mean(asked.formula, classes))


def test_parts_of_an_average() -> None:
    found = _parts(metric("mean_iou"), 3)
    formula = metric("iou[c0]").formula
    assert [(w, p.plan) for w, p in found] == [(1, Quotient(formula, (k,))) for k in range(3)]
    assert [p.classes for _, p in _parts(mean_over((0, 2)), 3)] == [(0,), (2,)]
    written = metric("blend", 3, "metric blend = 0.25 * iou[c0] + 0.75 * recall[c2]")
    assert [(w, p.classes) for w, p in _parts(written, 3)] == [(F(1, 4), (0,)), (F(3, 4), (2,))]


ROWS = [[2.0, 0, 0], [4.0, 0, 0], [0, 3.0, 0], [0, 0, 3.0]]
LABELS = [0, 0, 1, 1]


def test_each_class_on_its_own_in_the_largest_norm() -> None:
    """In l_inf nothing is shared: the sum of each class's own worst case, to the last digit."""
    bound = open_bound(metric("mean_iou"), image(ROWS, LABELS), constant(LINF))
    assert bound.clean() == [(F(1) + F(1, 2)) / 2]
    # 1: the pixel of margin 2 leaves c0, may enter c1. 3/2: margin 3 too.
    assert bound.worst_case([F(9, 10), F(1), F(3, 2), F(2)]) == [
        (F(3, 4), (F(1, 2) + F(1, 3)) / 2, (F(1, 4) + F(0)) / 2, F(0))
    ]
    often = open_bound(metric("frequency_weighted_iou"), image(ROWS, [0, 0, 1, 255]), constant(LINF))
    assert often.clean() == [1]
    assert often.worst_case([F(1)]) == [(F(2, 3) * F(1, 2) + F(1, 3) * F(1, 2),)]


def test_a_constant_of_zero_leaves_the_clean_value() -> None:
    for norm in (L1, L2, LINF):
        still = open_bound(metric("mean_iou"), image(ROWS, LABELS), constant(norm, F(0)))
        assert still.worst_case([F(5)]) == [(F(3, 4),)]
        assert still.radius([(F(1, 2), F(3, 4), None)], strict=False) == [(math.inf, F(0), None)]
        moved = open_bound(metric("mean_iou"), image(ROWS, LABELS), constant(norm))
        assert moved.worst_case([F(0), F(0)]) == [(F(3, 4), F(3, 4))]


@pytest.mark.parametrize("norm", [L1, L2], ids=str)
def test_the_bound_falls_from_the_clean_value_to_that_of_no_class_right(norm: Norm) -> None:
    bound = open_bound(metric("mean_iou"), image(ROWS, LABELS), constant(norm))
    budgets = [F(1, 100), F(1), F(2), F(3), F(4), F(100), F(10**9)]
    values = bound.worst_case(budgets)[0]
    assert values[0] is not None
    assert F(3, 4) - F(1, 2**30) <= values[0] <= F(3, 4)
    assert list(values) == sorted(values, reverse=True)  # type: ignore[type-var]
    assert values[-1] == values[-2] == 0
    # In any order, and each asked twice, the same.
    again = open_bound(metric("mean_iou"), image(ROWS, LABELS), constant(norm)).worst_case([*budgets[::-1], F(1)])[0]
    assert again == (*values[::-1], values[1])


def test_a_lower_is_better_average_rises() -> None:
    missed = metric("missed", 3, "metric missed lower_is_better = 0.5 * fnr[c0] + 0.5 * fnr[c1]")
    bound = open_bound(missed, image(ROWS, LABELS), constant(L2))
    assert bound.clean() == [F(1, 4)]
    low, high, all_of_it = bound.worst_case([F(1, 100), F(3, 2), F(100)])[0]
    assert low is not None
    assert high is not None
    assert F(1, 4) <= low <= F(1, 4) + F(1, 2**30)
    assert F(1, 2) <= high <= 1
    assert all_of_it == 1
    assert bound.radius([(F(1, 4), F(2))], strict=False) == [(F(0), math.inf)]


def test_a_single_part_is_charged_all_of_a_cost() -> None:
    alone = metric("alone", 3, "metric alone = 0.5 * iou[c0]")
    bound = open_bound(alone, image(ROWS, LABELS), constant(L1))
    # Margins 2 and 4 leave; 3 and 3 enter: 2 buys half of it.
    values = bound.worst_case([F(199, 100), F(2), F(201, 100), F(6)])[0]
    assert all(v is not None for v in values)
    assert float(values[2] or 0) <= 0.25
    assert float(values[3] or 0) <= 0.125


def test_no_class_annotated_is_undefined() -> None:
    bound = open_bound(metric("mean_iou"), image(ROWS, [255] * 4), constant(L2))
    assert bound.clean() == [None]
    assert bound.worst_case([F(1), F(2)]) == [(None, None)]
    assert bound.radius([(F(1, 2),)], strict=True) == [(None,)]
    blend = metric("blend", 3, "metric blend = 0.25 * iou[c0] + 0.75 * recall[c2]")
    assert open_bound(blend, image(ROWS, LABELS), constant(L2)).clean() == [None]


@pytest.mark.parametrize(("norm", "cost"), [(L1, 6.0), (L2, 6.0 / 2**0.5), (LINF, 3.0)], ids=["l1", "l2", "linf"])
def test_a_radius_beyond_one_is_where_the_answer_changes(norm: Norm, cost: float) -> None:
    """One pixel of each class, margin 6: what flips one of them brings its class to zero."""
    seen = image([[6.0, 0.0], [0.0, 6.0]], [0, 1])
    for constant_value in (F(1), F(3, 2), F(3)):
        bound = open_bound(metric("mean_iou", 2), seen, constant(norm, constant_value))
        for strict in (False, True):
            radius = bound.radius([(F(9, 10), F(0))], strict=strict)[0]
            assert isinstance(radius[0], Fraction)
            assert 0 < radius[0] <= F(cost * (1 + 1e-9)) / constant_value
            here, beyond = bound.worst_case([radius[0], F(math.nextafter(float(radius[0]), math.inf))])[0]
            assert here is not None
            assert beyond is not None
            assert here >= F(9, 10) >= beyond
            assert radius[1] == math.inf if strict else radius[1] >= radius[0]  # type: ignore[operator]


def test_a_threshold_that_only_a_strict_objective_does_not_meet() -> None:
    bound = open_bound(metric("mean_iou"), image(ROWS, LABELS), constant(L2))
    loose, strict = (bound.radius([(F(3, 4),)], strict=s)[0][0] for s in (False, True))
    assert loose == 0
    assert strict is not None
    assert bound.radius([(F(0),)], strict=True) == [(math.inf,)]
    assert bound.radius([(F(0),)], strict=False)[0][0] != math.inf


@pytest.mark.parametrize(
    ("asked", "norm", "read"),
    [
        (metric("mean_iou"), L2, (True, 0.5, True)),
        (metric("mean_iou"), L1, (False, 0.5, True)),
        (metric("mean_iou"), LINF, (False, 1.0, False)),
        (mean_over((1,)), L2, (True, _WHOLE, True)),
        (metric("sets", 4, "metric sets = 0.5 * iou[c0, c1] + 0.5 * iou[c2]"), L2, (True, 0.5, False)),
        (metric("sets", 4, "metric sets = 0.5 * iou[c0, c1] + 0.5 * iou[c2]"), LINF, (False, 1.0, False)),
        (metric("twice", 4, "metric twice = (iou[c0, c1] + iou[c1] + iou[c2]) / 3"), L1, (False, 1 / 3, False)),
        (metric("three", 4, "metric three = (iou[c0] + recall[c1] + dice[c2]) / 3"), L2, (True, 0.5, True)),
    ],
    ids=lambda v: getattr(v, "name", None) or str(v),
)
def test_what_of_a_cost_each_part_is_charged(asked: Metric, norm: Norm, read: tuple[bool, float, bool]) -> None:
    """Half of it; an equal share where sets overlap; all of it where nothing is shared."""
    seen = image([[*row, 0.0] for row in ROWS], LABELS)
    found = []
    one_class = seen.one_class

    def spy(metric: Metric, inside: tuple[int, ...], *, water: bool, share: float, whole: bool) -> object:
        found.append((water, share, whole))
        return one_class(metric, inside, water=water, share=share, whole=whole)

    seen.one_class = spy  # type: ignore[method-assign,assignment]
    open_bound(asked, seen, constant(norm))
    assert len(found) > 0
    assert set(found) == {read}


@pytest.mark.parametrize(("norm", "q"), [(L1, 1), (L2, 2)], ids=["l1", "l2"])
@pytest.mark.parametrize("eps", [F(1, 100), F(3, 4), F(5), F(1000)])
def test_the_units_of_a_budget_never_overstate_a_cost(
    norm: Norm, q: int, eps: Fraction, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    whole = macro._lagrangian

    def spy(parts: list[_Part], budget: float) -> object:
        asked.append(budget)
        return whole(parts, budget)

    units = []

    class Spied(_Part):
        def __init__(self, weight: Fraction, metric: Metric, confusion: object, budget: Budget) -> None:
            units.append(budget)
            super().__init__(weight, metric, confusion, budget)  # type: ignore[arg-type]

    monkeypatch.setattr(macro, "_lagrangian", spy)
    monkeypatch.setattr(macro, "_Part", Spied)
    bound = open_bound(mean_over((0,)), image(ROWS, LABELS), constant(norm, F(3, 2)))
    assert bound.worst_case([eps])[0][0] is not None
    spend = (eps * F(3, 2)) ** q
    (unit,) = units
    assert unit.exponent == 1
    assert unit.limit == 2**40
    # Units for each unit of d^q, and the budget in the same units.
    assert F(unit.scale) * spend <= F(asked[0]) * (1 - F(1, 2**45))
    assert F(unit.scale) * spend >= F(asked[0]) * (1 - F(1, 2**44))
    assert unit.limit / 16 <= asked[0] <= unit.limit


def test_classes_weigh_alike_or_by_their_pixels() -> None:
    rows = [[2.0, 0, 0], [4.0, 0, 0], [5.0, 0, 0], [0, 3.0, 0], [0, 0, 3.0]]
    labels = [0, 0, 0, 1, 1]
    for norm in (L1, L2, LINF):
        for text, clean, hopeless in (
            ("mean_iou", (1 + F(1, 2)) / 2, F(0)),
            ("frequency_weighted_iou", F(3, 5) + F(2, 5) * F(1, 2), F(0)),
            ("mean_dice", (1 + F(2, 3)) / 2, F(0)),
        ):
            bound = open_bound(metric(text), image(rows, labels), constant(norm))
            assert bound.clean() == [clean]
            assert bound.worst_case([F(0), F(10**6)]) == [(clean, hopeless)]


@pytest.mark.parametrize("eps", [F(1, 2), F(1), F(2)])
@pytest.mark.parametrize("norm", [L1, L2], ids=["l1", "l2"])
def test_what_a_bound_stands_on_gives_it_again(norm: Norm, eps: Fraction) -> None:
    """From price, unit and spends alone, in rationals: the sum of min (w g + price start), less price * spend."""
    (seen, c) = (image(ROWS, LABELS), constant(norm, F(3, 2)))
    bound = open_bound(metric("mean_iou"), seen, c)
    assert isinstance(bound, macro.Bound)
    assert norm.p is not None
    found = bound.relaxation(0, eps)
    assert found is not None
    spend = (eps * c.value) ** int(norm.p)
    total = F(0)
    (opened,) = bound._images
    assert opened is not None
    assert len(found.spends) == len(opened.parts)
    for spends, (weight, asked, items) in zip(found.spends, opened.parts, strict=True):
        assert spends[0] == 0
        assert list(spends) == sorted(set(spends))
        # A grid unit buys what it is worth in ||a||_q^q; items cost at least what their margin asks.
        scale = Budget(1, macro.round_down(1 / found.unit), 2**60)
        leave, enter = (macro.affordable(x, scale) for x in items.lists(None, None))
        ends = []
        for start, end in zip((0, *spends), spends, strict=False):
            mine, others = leave[leave <= end], enter[enter <= end]
            ends.append(weight * items.finder(asked)(mine, others, end) + found.price * start)
        total += min(ends)
    value = bound.worst_case([eps])[0][0]
    assert value is not None
    again = max(total - found.price * spend / found.unit, opened.hopeless)
    assert value <= again
    assert again - value < F(1, 10**6)


def test_bounds_that_share_nothing_stand_on_nothing() -> None:
    asked = metric("mean_iou")
    assert isinstance(spread := open_bound(asked, image(ROWS, LABELS), constant(LINF)), macro.Bound)
    assert spread.relaxation(0, F(1)) is None
    assert isinstance(shared := open_bound(asked, image(ROWS, LABELS), constant(L2)), macro.Bound)
    assert shared.relaxation(0, F(0)) is None
    assert shared.relaxation(0, F(1)) is not None
    assert isinstance(still := open_bound(asked, image(ROWS, LABELS), constant(L2, F(0))), macro.Bound)
    assert still.relaxation(0, F(1)) is None
    assert isinstance(none := open_bound(asked, image(ROWS, [255] * len(LABELS)), constant(L2)), macro.Bound)
    assert none.relaxation(0, F(1)) is None


@pytest.mark.parametrize("norm", [L1, L2], ids=["l1", "l2"])
@pytest.mark.parametrize("power", [1, 3, -7])
def test_scaling_the_logits_scales_the_budget_and_nothing_else(norm: Norm, power: int) -> None:
    """Grid units follow the size of the logits: by a power of two, every answer is the same to the last bit."""
    by = F(2) ** power
    asked = metric("mean_iou")
    budgets = [F(1, 3), F(7, 8), F(3, 2), F(9, 4)]
    one = open_bound(asked, image(ROWS, LABELS), constant(norm)).worst_case(budgets)
    scaled = image([[float(by) * x for x in row] for row in ROWS], LABELS)
    assert open_bound(asked, scaled, constant(norm)).worst_case([by * eps for eps in budgets]) == one


@pytest.mark.parametrize("asked", ASKED, ids=lambda m: m.name)
def test_stretches_are_halved_until_a_long_one_is_decided(asked: Metric) -> None:
    """Sixty items of seven units, far apart in the doubling spends: to within one unit's price all the same."""
    leave, enter, limit = [7] * 40, [7] * 20, 512
    it = part(asked, leave, enter, limit)
    sign = -1 if asked.lower_is_better else 1
    truth = [sign * exact(asked, leave, enter, c) for c in range(limit + 1)]
    for price in (1e-3, 3e-3):
        least = min(g + F(price) * c for c, g in enumerate(truth))
        tables = it.coarse(), it.refined(price)
        coarse, refined = (
            min(F(v) + F(price) * F(s) for s, v in zip(t.starts, t.values, strict=True)) for t in tables
        )
        assert coarse <= refined <= least
        assert refined >= least - F(price) * 7
        assert len(tables[1].spends) <= len(tables[0].spends) + macro._REFINEMENTS

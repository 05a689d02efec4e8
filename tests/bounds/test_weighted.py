"""The parts of the weighted bound, each against enumeration in exact rationals."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from robspec.bounds import open_bound
from robspec.bounds.context import Context
from robspec.bounds.weighted import _rate, supported
from robspec.ir.plans import Accuracy, MeanRate, Rate, Weighted
from robspec.ir.types import Metric
from robspec.kernels.weighted import exact_sum
from robspec.kernels.weighted.cpu import BACKEND, dual_bound
from robspec.semantics.classify import Flip
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L1, L2, LINF, Norm
from tests.bounds.language import metric
from tests.kernels.available import CPU

F = Fraction


def constant(norm: Norm, value: Fraction = F(1)) -> Constant:
    return Constant(value, norm, norm, ConstantStatus.PROVED)


def image(rows: list[list[float]], labels: list[int], weights: list[float] | None = None) -> Context:
    logits = torch.tensor(rows, dtype=torch.float64).T.reshape(1, len(rows[0]), 1, -1)
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float64).reshape(1, 1, -1)
    return Context(CPU, logits, torch.tensor(labels).reshape(1, 1, -1), 255, None, weight)


@pytest.mark.parametrize("seed", range(25))
def test_the_dual_is_between_the_best_choice_and_its_relaxation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 7))
    costs, profits = rng.integers(0, 9, size=count), rng.choice([0.25, 0.1, 1.0, 3.0], size=count)
    limit = int(rng.integers(1, 20))
    kept = costs <= limit
    costs, profits = costs[kept], profits[kept]
    bound = dual_bound(costs, profits, limit)
    best = max(
        sum((F(p) for p, t in zip(profits.tolist(), taken, strict=True) if t), F(0))
        for taken in itertools.product((False, True), repeat=len(costs))
        if sum(c for c, t in zip(costs.tolist(), taken, strict=True) if t) <= limit
    )
    # The relaxation may take a part of one item: the best by worth, and a share of the first that does not fit.
    order = sorted(range(len(costs)), key=lambda i: -F(profits[i]) / int(costs[i]) if costs[i] else -F(10**9))
    relaxed, left = F(0), limit
    for i in order:
        share = F(1) if costs[i] <= left else F(left, int(costs[i]))
        relaxed, left = relaxed + share * F(profits[i]), left - int(share * int(costs[i]))
        if share < 1:
            break
    assert best <= bound
    assert relaxed <= bound <= relaxed * (1 + F(1, 2**30)) + F(1, 2**30)


def test_the_dual_of_what_is_affordable_together_is_all_of_it() -> None:
    none = np.array([], dtype=np.int64)
    assert dual_bound(none, np.array([]), 3) == 0
    assert dual_bound(np.array([1, 2]), np.array([0.1, 0.2]), 3) == F(0.1) + F(0.2)
    assert dual_bound(np.array([0, 0]), np.array([0.1, 0.2]), 0) == F(0.1) + F(0.2)
    assert dual_bound(np.array([1, 3]), np.array([1.0, 1.0]), 3) < 2
    # Items of no cost come first, and what a budget of exactly their sum buys comes whole.
    assert dual_bound(np.array([0, 2, 2, 4]), np.array([1.0, 4.0, 2.0, 2.0]), 4) >= 7
    assert dual_bound(np.array([0, 2, 2, 4]), np.array([1.0, 4.0, 2.0, 2.0]), 4) <= 7 + F(1, 2**30)


def test_a_dual_that_rounds_stays_above() -> None:
    """A price that is no double: the sum of gains is rounded, and the slack covers it."""
    profits = np.full(1000, 0.1)
    costs = np.full(1000, 3)
    assert dual_bound(costs, profits, 1500) >= 500 * F(0.1)
    assert dual_bound(costs, profits, 1500) <= 501 * F(0.1)


def test_predictions_and_margins() -> None:
    z = np.array([[[1.0, 2.0, 5.0]], [[1.0, 4.0, 5.0]], [[0.0, 1.0, 7.0]]])
    classes, margins = BACKEND.predictions(z)
    assert classes.tolist() == [0, 1, 2]
    assert margins.tolist() == [0.0, 2.0, 2.0]
    classes, margins = BACKEND.predictions(np.array([[[-1.0, 0.0, 0.5]]]))
    assert classes.tolist() == [0, 0, 1]
    assert classes.dtype == np.int64
    assert margins.tolist() == [1.0, 0.0, 0.5]


def test_sides_of_a_class_set() -> None:
    z = np.array([[[1.0, 9.0]], [[3.0, 4.0]], [[2.0, 4.5]], [[0.0, 8.0]]])
    inside, ahead, margins = BACKEND.sides(z, (1, 2))
    assert inside.tolist() == [False, True, True, False]
    assert ahead.tolist() == [True, False]
    assert margins.tolist() == [2.0, 4.5]
    inside, ahead, margins = BACKEND.sides(np.array([[[-1.0, 2.0]]]), (1,))
    assert inside.tolist() == [False, True]
    assert ahead.tolist() == [False, True]
    assert margins.tolist() == [1.0, 2.0]


def test_doubles_are_added_without_rounding() -> None:
    assert exact_sum(np.array([])) == 0
    assert exact_sum(np.array([0.1] * 10)) == 10 * F(0.1)
    assert exact_sum(np.array([[1.0, 1e-300], [1.0, 2.0**60]])) == 2 + F(1e-300) + 2**60


@pytest.mark.parametrize(
    ("text", "definition", "rate"),
    [
        ("recall[c1]", "", (True, (1, 0, 0, 0), (1, 0, 1, 0), -1)),
        ("fnr[c1]", "", (True, (0, 0, 1, 0), (1, 0, 1, 0), 1)),
        ("specificity[c1]", "", (False, (0, 0, 0, 1), (0, 1, 0, 1), -1)),
        ("fpr[c1]", "", (False, (0, 1, 0, 0), (0, 1, 0, 1), 1)),
        ("half[c1]", "metric half(k) = TP[k] / (2 * (TP[k] + FN[k]))", (True, (1, 0, 0, 0), (2, 0, 2, 0), -1)),
        (
            "kept[c1]",
            "metric kept(k) = (3 * TP[k] + FN[k]) / (3 * TP[k] + 3 * FN[k])",
            (True, (3, 0, 1, 0), (3, 0, 3, 0), -2),
        ),
        # What stays where no pixel of the class can be lost to it takes part, and does not change.
        (
            "spared[c1]",
            "metric spared(k) = (2 * TN[k] + TP[k] + FN[k]) / (2 * (TP[k] + FP[k] + FN[k] + TN[k]))",
            (False, (1, 0, 1, 2), (2, 2, 2, 2), -2),
        ),
    ],
)
def test_rates_whose_denominator_no_attack_changes(
    text: str, definition: str, rate: tuple[bool, tuple[int, ...], tuple[int, ...], int]
) -> None:
    asked = metric(text, 3, definition)
    assert isinstance(asked.plan, Rate)
    found = _rate(asked.plan, lower_is_better=asked.lower_is_better)
    assert found is not None
    assert (found.leaving, found.above, found.below, found.change) == rate
    assert supported(metric(f"weighted {text}", 3, definition))


def test_only_rates_and_accuracies_have_a_weighted_bound() -> None:
    iou = metric("iou[c1]")
    assert supported(metric("mean_accuracy"))
    assert not supported(metric("pixel_accuracy"))
    assert not supported(iou)
    for text in ("weighted pixel_accuracy", "weighted stability", "weighted recall[c1]"):
        assert supported(metric(text))
    with pytest.raises(ValueError, match="no bound for weighted"):
        open_bound(Metric("top_k", Weighted(Accuracy(2))), image([[1.0, 0.0]], [0]), constant(L2))
    # Not a rate: the denominator changes, a pair of items matters, or flips do good.
    recall, fnr, fpr = (metric(f"{name}[c1]").plan for name in ("recall", "fnr", "fpr"))
    assert isinstance(recall, Rate)
    assert isinstance(fnr, Rate)
    assert isinstance(fpr, Rate)
    assert _rate(recall, lower_is_better=False) is not None
    assert _rate(replace(recall, flips=Flip.ENTER), lower_is_better=False) is None
    assert _rate(replace(recall, formula=iou.formula), lower_is_better=False) is None
    assert _rate(recall, lower_is_better=True) is None
    assert _rate(fnr, lower_is_better=False) is None
    assert _rate(replace(fpr, flips=Flip.LEAVE), lower_is_better=True) is None


def test_a_mean_of_recalls_loses_each_class_its_share() -> None:
    rows = [[2.0, 0, 0], [4.0, 0, 0], [0, 1.0, 0], [0, 0, 3.0], [1.0, 0, 0], [0, 6.0, 0]]
    seen = image(rows, [0, 0, 1, 1, 255, 1])
    bound = open_bound(metric("mean_accuracy"), seen, constant(LINF))
    assert bound.clean() == [(1 + F(2, 3)) / 2]
    # Budgets 1/2, 1, 2, 3: margins 1, 2, 4, 6 one by one; the pixel predicted wrong and the one ignored never count.
    lost = [F(0), F(1, 3), F(1, 3) + F(1, 2), F(1, 3) + 1, F(2, 3) + 1]
    got = bound.worst_case([F(0), F(1, 2), F(1), F(2), F(3)])[0]
    for value, gone in zip(got, lost, strict=True):
        assert value is not None
        exact = (F(5, 3) - gone) / 2
        assert max(exact - F(1, 2**40), 0) <= value <= exact
    some = open_bound(metric("mean_accuracy in [c0]"), seen, constant(LINF))
    assert some.clean() == [1]
    assert open_bound(metric("mean_accuracy"), image(rows, [255] * 6), constant(L2)).clean() == [None]
    assert open_bound(metric("mean_accuracy"), image(rows, [255] * 6), constant(L2)).worst_case([F(1)]) == [(None,)]


def test_recalls_weighted_by_frequency_are_the_accuracy() -> None:
    rows = [[2.0, 0, 0], [4.0, 0, 0], [0, 1.0, 0], [0, 0, 3.0], [1.0, 0, 0], [8.0, 0, 0]]
    seen = image(rows, [0, 0, 1, 1, 255, 0])
    each = metric("mean_accuracy")
    often = replace(each, plan=MeanRate(each.formula, (), frequency=True))
    bound = open_bound(often, seen, constant(LINF))
    assert bound.clean() == [F(4, 5)]
    assert bound.worst_case([F(0), F(1, 2), F(1), F(2)]) == [(F(4, 5), F(3, 5), F(2, 5), F(1, 5))]
    only = open_bound(replace(often, plan=MeanRate(each.formula, (1, 2), frequency=True)), seen, constant(LINF))
    assert only.clean() == [F(1, 2)]
    assert only.worst_case([F(1, 2), F(9)]) == [(F(0), F(0))]
    none = open_bound(replace(often, plan=MeanRate(each.formula, (2,), frequency=True)), seen, constant(LINF))
    assert none.clean() == [None]
    assert none.radius([(F(1, 2),)], strict=False) == [(None,)]


def test_a_weighted_rate_to_the_last_flip() -> None:
    rows = [[0.0, 2.0], [0.0, 4.0], [3.0, 0.0], [1.0, 0.0], [6.0, 0.0], [0.0, 1.0]]
    weights = [1.0, 2.0, 4.0, 0.5, 0.0, 8.0]
    seen = image(rows, [1, 1, 1, 0, 0, 255], weights)
    budgets = [F(0), F(1, 2), F(1), F(2), F(9)]
    recall = open_bound(metric("weighted recall[c1]", 2), seen, constant(LINF))
    assert recall.clean() == [F(3, 7)]
    assert recall.worst_case(budgets) == [(F(3, 7), F(3, 7), F(2, 7), F(0), F(0))]
    miss = open_bound(metric("weighted fnr[c1]", 2), seen, constant(LINF))
    assert miss.worst_case(budgets) == [(F(4, 7), F(4, 7), F(5, 7), F(1), F(1))]
    alarm = open_bound(metric("weighted fpr[c1]", 2), seen, constant(LINF))
    assert alarm.worst_case(budgets) == [(F(0), F(1), F(1), F(1), F(1))]
    assert alarm.radius([(F(1, 2), F(0), None)], strict=False)[0][1:] == (F(0), None)
    radius = alarm.radius([(F(1, 2),)], strict=False)[0][0]
    assert radius is not None
    assert radius == pytest.approx(0.5)
    nothing = open_bound(metric("weighted recall[c1]", 2), image(rows, [0] * 6, weights), constant(L1))
    assert nothing.clean() == [None]
    accuracy = open_bound(metric("weighted pixel_accuracy", 2), seen, constant(LINF))
    assert accuracy.clean() == [F(7, 15)]
    assert accuracy.worst_case(budgets) == [(F(7, 15), F(2, 5), F(4, 15), F(0), F(0))]
    assert accuracy.radius([(F(-1), F(1))], strict=False) == [(float("inf"), F(0))]


@pytest.mark.parametrize("norm", [L1, L2], ids=str)
def test_a_budget_that_pays_for_all_loses_all_and_a_constant_of_zero_none(norm: Norm) -> None:
    rows = [[0.0, 2.0], [0.0, 4.0], [3.0, 0.0], [1.0, 1.0]]
    seen = image(rows, [1, 1, 0, 0], [1.0, 2.0, 4.0, 1.0])
    asked = metric("weighted pixel_accuracy", 2)
    assert open_bound(asked, seen, constant(norm)).worst_case([F(10)]) == [(F(0),)]
    still = open_bound(asked, seen, constant(norm, F(0)))
    # Only the tie is lost without any change.
    assert still.worst_case([F(10)]) == [(F(7, 8),)]
    assert still.radius([(F(7, 8), F(3, 4))], strict=False) == [(F(0), float("inf"))]
    assert still.radius([(F(7, 8), F(3, 4))], strict=True) == [(float("inf"), float("inf"))]


def test_weights_and_labels_that_are_missing_are_said_so() -> None:
    with pytest.raises(ValueError, match="weight files"):
        open_bound(metric("weighted pixel_accuracy", 2), image([[1.0, 0.0]], [0]), constant(L2))


def test_a_weighted_stability_needs_no_labels() -> None:
    logits = torch.tensor([[0.0, 2.0], [3.0, 0.0]]).T.reshape(1, 2, 1, 2)
    seen = Context(CPU, logits, None, None, None, torch.tensor([[[1.0, 3.0]]], dtype=torch.float64))
    bound = open_bound(metric("weighted stability", 2), seen, constant(LINF))
    assert bound.clean() == [1]
    assert bound.worst_case([F(1), F(3, 2)]) == [(F(3, 4), F(0))]


def test_a_single_logit_has_no_factor_in_the_weighted_bound() -> None:
    logits = torch.tensor([1.0, -2.0], dtype=torch.float64).reshape(1, 1, 1, 2)
    weights = torch.tensor([[[1.0, 3.0]]], dtype=torch.float64)
    seen = Context(CPU, logits, torch.tensor([[[1, 0]]]), 255, None, weights)
    bound = open_bound(metric("weighted pixel_accuracy", 2, single=True), seen, constant(LINF))
    assert bound.worst_case([F(3, 4), F(1), F(2)]) == [(F(1), F(3, 4), F(0))]


def test_a_class_of_a_single_pixel_counts() -> None:
    bound = open_bound(
        metric("mean_accuracy"), image([[2.0, 0, 0], [0, 4.0, 0], [0, 1.0, 0]], [0, 1, 1]), constant(L2)
    )
    assert bound.clean() == [1]
    assert open_bound(metric("mean_accuracy"), image([[2.0, 0, 0], [0, 4.0, 0]], [0, 0]), constant(L2)).clean() == [
        F(1, 2)
    ]


def test_a_weighted_radius_beyond_one_is_where_the_answer_changes() -> None:
    """Not infinite because no attack of size one does it."""
    seen = image([[0.0, 20.0], [0.0, 40.0], [30.0, 0.0]], [1, 1, 0], [1.0, 2.0, 4.0])
    for norm, first in ((L1, 20.0), (L2, 20.0 / 2**0.5), (LINF, 10.0)):
        bound = open_bound(metric("weighted pixel_accuracy", 2), seen, constant(norm))
        radius = bound.radius([(F(6, 7), F(0))], strict=False)[0]
        assert isinstance(radius[0], Fraction)
        assert isinstance(radius[1], Fraction)
        # The dual lets an attacker buy a part of the pixel of weight 4 first.
        assert 5 <= radius[0] <= first * (1 + 1e-9)
        assert radius[0] < radius[1]


def test_the_sum_of_costs_is_spent_in_its_own_norm() -> None:
    seen = image([[0.0, 2.0], [0.0, 2.0], [0.0, 2.0], [0.0, 2.0]], [1] * 4, [1.0] * 4)
    asked = metric("weighted pixel_accuracy", 2)
    # l1: each costs 2. l2: each costs 2^2 / 2 of the square.
    for norm, eps in ((L1, F(4)), (L2, F(2))):
        got = open_bound(asked, seen, constant(norm)).worst_case([eps])[0][0]
        assert got is not None
        assert F(1, 2) - F(1, 2**20) <= got <= F(1, 2)


def test_weights_of_nothing_and_of_one() -> None:
    rows = [[0.0, 2.0], [3.0, 0.0]]
    asked = metric("weighted pixel_accuracy", 2)
    assert open_bound(asked, image(rows, [1, 1], [0.0, 0.0]), constant(L2)).clean() == [None]
    assert open_bound(asked, image(rows, [1, 1], [0.25, 0.75]), constant(L2)).clean() == [F(1, 4)]
    # A label that is no class is in no set and in no rest of one.
    recall = open_bound(metric("weighted recall[c1]", 2), image(rows, [1, 2], [1.0, 1.0]), constant(L2))
    assert recall.clean() == [1]
    miss = open_bound(metric("weighted fpr[c1]", 2), image(rows, [2, 0], [1.0, 1.0]), constant(L2))
    assert miss.clean() == [0]


def test_a_single_logit_without_labels_and_a_grid_of_all_pixels() -> None:
    logits = torch.arange(1.0, 16.0, dtype=torch.float64).reshape(1, 1, 3, 5)
    weights = torch.ones(1, 3, 5, dtype=torch.float64)
    bound = open_bound(
        metric("weighted stability", 2, single=True), Context(CPU, logits, None, None, None, weights), constant(L1)
    )
    assert bound.clean() == [1]
    assert bound._pixels == 15  # type: ignore[attr-defined]


def test_margins_of_many_classes_are_of_the_two_largest() -> None:
    z = np.random.default_rng(3).normal(size=(60, 1, 40))
    classes, margins = BACKEND.predictions(z)
    ordered = np.sort(z.reshape(60, -1), axis=0)
    assert margins.tolist() == (ordered[59] - ordered[58]).tolist()
    assert classes.tolist() == [int(np.argmax(z[:, 0, i])) for i in range(40)]


def test_items_of_cost_one_have_a_price() -> None:
    assert dual_bound(np.array([1, 1, 1]), np.array([3.0, 2.0, 1.0]), 2) <= 5 + F(1, 2**20)


@pytest.mark.parametrize("exponent", [-1074, -1050, 1021])
@pytest.mark.parametrize("limit", [90, 130, 200])
def test_the_dual_does_not_depend_on_the_size_of_the_weights(exponent: int, limit: int) -> None:
    """Of subnormal profits no price would be left, and the sum of the largest would be infinite."""
    costs = np.array([3, 10, 40, 41, 90], dtype=np.int64)
    profits = np.array([1.0, 5.0, 4.0, 3.0, 2.0])
    plain = dual_bound(costs, profits, limit)
    assert dual_bound(costs, np.ldexp(profits, exponent), limit) == plain * Fraction(2) ** exponent
    assert plain < 15 or limit == 200

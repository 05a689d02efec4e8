"""Weighted knapsacks in numpy answer as the plain Python does, to the last digit."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from robspec.kernels.knapsack.budget import Budget, affordable, costs
from robspec.kernels.knapsack.reference import item_cost
from robspec.kernels.weighted import backends, beside

F = Fraction
CPU, REFERENCE = backends()["cpu"], backends()["reference"]


@pytest.mark.parametrize("norm", [None, F(1), F(2)], ids=["linf", "l1", "l2"])
@pytest.mark.parametrize("seed", range(20))
def test_both_backends_say_the_same(seed: int, norm: F | None) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 40))
    margins = rng.choice([0.0, 0.25, 1.0, 3.0, 1e-200, 1e200, np.inf, rng.random()], size=count)
    profits = rng.choice([0.1, 1.0, 3.0, 1e-300, 1e300, rng.random()], size=count)
    for eps in (F(0), F(1, 10), F(1), F(7, 3), F(10) ** 250):
        budget = Budget.of(eps, F(3, 2), norm, max(count, 1), single=False)
        assert CPU.most(margins, profits, budget) == REFERENCE.most(margins, profits, budget)


@pytest.mark.parametrize("seed", range(20))
def test_the_bound_is_not_below_any_choice(seed: int) -> None:
    rng = np.random.default_rng(seed)
    margins, profits = rng.integers(0, 5, size=7) / 4, rng.choice([0.1, 1.0, 0.7], size=7)
    budget = Budget.of(F(1), F(1), F(2), 7, single=False)
    price = [item_cost(d, budget) for d in margins.tolist()]
    for taken in itertools.product((0, 1), repeat=7):
        if sum(c * t for c, t in zip(price, taken, strict=True)) <= budget.limit:
            worth = sum((F(p) * t for p, t in zip(profits.tolist(), taken, strict=True)), F(0))
            assert worth <= CPU.most(margins, profits, budget)


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_predictions_and_sides_are_the_same(classes: int) -> None:
    rng = np.random.default_rng(classes)
    z = rng.integers(-3, 4, size=(classes, 6, 7)) / 2
    for chosen in ((1,), (0,), (0, 1)[: max(classes, 2) - 1]):
        for ours, theirs in zip(CPU.sides(z, chosen), REFERENCE.sides(z, chosen), strict=True):
            assert ours.tolist() == theirs.tolist()
    for ours, theirs in zip(CPU.predictions(z), REFERENCE.predictions(z), strict=True):
        assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize("norm", [F(1), F(2)], ids=["l1", "l2"])
def test_costs_are_those_of_the_definition(norm: F) -> None:
    items = np.array([0.0, 1e-320, 0.1, 0.5, 1.0, 1e10, 1e160, 1e300, np.inf])
    for eps in (F(1, 100), F(1), F(10) ** 400):
        budget = Budget.of(eps, F(1), norm, 9, single=True)
        found = costs(items, budget).tolist()
        assert found == [item_cost(d, budget) for d in items.tolist()]
        assert affordable(items, budget).tolist() == [c for c in found if c <= budget.limit]


def test_every_other_backend_goes_with_numpy() -> None:
    assert beside("reference") is REFERENCE
    assert beside("cpu") is CPU
    assert beside("triton") is CPU

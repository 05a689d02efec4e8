"""The reference worked out by hand, and the searches over doubles against predicates whose end is known."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from robspec.kernels.knapsack import Items, LogitsBatch
from robspec.kernels.knapsack.budget import Budget, grid_bits
from robspec.kernels.knapsack.reference import count_flips, item_cost, margin, prediction, water_filling
from robspec.kernels.knapsack.search import largest_certifying, largest_certifying_each
from tests.kernels.available import REFERENCE

F = Fraction


def batch(rows: list[list[float]], labels: list[int] | None, items: Items, **more: object) -> LogitsBatch:
    logits = torch.tensor(rows, dtype=torch.float64).T.reshape(1, len(rows[0]), 1, -1)
    label = None if labels is None else torch.tensor(labels).reshape(1, 1, -1)
    return LogitsBatch(logits, label, items, 255, **more)  # type: ignore[arg-type]


def test_margins_and_predictions() -> None:
    assert margin([3.0, 5.5, 1.0], 1) == 2.5
    assert margin([3.0, 5.5, 1.0], 0) == -2.5
    assert margin([-3.0, -5.5, -4.0], 0) == 1.0
    assert margin([-2.0], 1) == margin([2.0], 0) == 2.0
    assert [prediction(z) for z in ([1.0, 2.0, 2.0], [3.0, 2.0, 3.0], [0.0], [1e-300], [-1.0])] == [1, 0, 0, 1, 0]


@pytest.mark.parametrize(
    ("d", "budget", "cost"),
    [
        (2.0, Budget(0, 2.0, 0), 0),
        (2.1, Budget(0, 2.0, 0), 1),
        (2.5, Budget(1, 3.0, 100), 7),
        (2.5, Budget(2, 3.0, 100), 18),
        (10.0, Budget(2, 1.0, 100), 100),
        (10.04, Budget(2, 1.0, 100), 100),
        (10.05, Budget(2, 1.0, 100), 101),
        (1e9, Budget(1, 1.0, 100), 101),
        (math.inf, Budget(1, 1.0, 100), 101),
        (-1.0, Budget(1, 1.0, 100), 0),
        (0.0, Budget(2, 1.0, 100), 0),
        (1.0, Budget(1, 1.0, 100), 1),
        (0.999, Budget(1, 1.0, 100), 0),
    ],
)
def test_a_cost_is_rounded_down(d: float, budget: Budget, cost: int) -> None:
    assert item_cost(d, budget) == cost


def test_flips_spend_the_budget_to_the_last_unit() -> None:
    assert count_flips([4.0, 3.0, 3.0], Budget(1, 1.0, 6)) == 2
    assert count_flips([4.0, 3.0, 3.0], Budget(1, 1.0, 10)) == 3
    assert count_flips([4.0, 3.0, 3.0], Budget(1, 1.0, 5)) == 1
    assert count_flips([4.0, 3.0, 3.0], Budget(1, 1.0, 2)) == 0
    assert count_flips([4.0, 3.0, 3.0], Budget(0, 3.0, 0)) == 2
    assert count_flips([], Budget(1, 1.0, 6)) == 0


ROWS = [[3.0, 5.0, 1.0], [7.0, 6.0, 2.0], [-1.0, -4.0, -9.0], [2.0, 2.0, 8.0], [1.0, 1.0, 0.0]]


def test_items_are_the_pixels_that_are_right_or_all() -> None:
    correct = REFERENCE.prepare(batch(ROWS, [1, 0, 1, 255, 0], Items.CORRECT))
    assert (correct.items.tolist(), correct.valid.tolist(), correct.pixels) == ([3], [4], 5)
    # Margins 2, 1, 0.
    one = [Budget(0, d, 0) for d in (0.0, 0.5, 1.0, 2.0)]
    assert correct.flips(one).tolist() == [[1, 1, 2, 3]]
    every = REFERENCE.prepare(batch(ROWS, None, Items.PREDICTED))
    assert (every.items.tolist(), every.valid.tolist()) == ([5], [5])
    assert every.flips([Budget(0, 3.0, 0), Budget(0, 6.0, 0)]).tolist() == [[4, 5]]
    some = REFERENCE.prepare(batch(ROWS, [0, 0, 255, 255, 9], Items.PREDICTED))
    assert (some.items.tolist(), some.valid.tolist()) == ([3], [3])
    assert some.flips([]).shape == (1, 0)
    assert correct.finite.tolist() == [True]
    assert REFERENCE.prepare(batch([[math.nan, 0.0], [1.0, 0.0]], [0, 0], Items.CORRECT)).finite.tolist() == [False]
    logits = torch.zeros(1, 2, 3, 5)
    wide = REFERENCE.prepare(LogitsBatch(logits, torch.zeros(1, 3, 5, dtype=torch.int64), Items.CORRECT, 255))
    assert wide.pixels == 15
    with pytest.raises(ValueError, match="labels"):
        REFERENCE.prepare(batch(ROWS, None, Items.CORRECT))


def test_radii_are_where_the_flips_are_affordable() -> None:
    prepared = REFERENCE.prepare(batch(ROWS, [1, 0, 1, 255, 0], Items.CORRECT))
    wanted = np.array([[-1, 0, 1, 2, 3, 4]])
    radii = prepared.radii(wanted, F(2), F(1))[0].tolist()
    assert radii[:3] == [0.0, 0.0, 0.0]
    assert radii[3:5] == pytest.approx([0.5, 1.5], rel=1e-9)
    assert radii[3] <= 0.5
    assert radii[5] == math.inf
    # Half the sum of squares, and its root.
    assert prepared.radii(wanted, F(1), F(2))[0].tolist()[4] == pytest.approx(math.sqrt(2.5), rel=1e-9)
    assert prepared.radii(wanted, F(1), None)[0].tolist()[3:] == [pytest.approx(0.5), pytest.approx(1.0), math.inf]
    # A constant of zero: only the tie can be had, and for nothing.
    assert prepared.radii(wanted, F(0), F(2))[0].tolist() == [0.0, 0.0, 0.0, math.inf, math.inf, math.inf]
    ties = REFERENCE.prepare(batch([[1.0, 1.0], [2.0, 2.0], [1.0, 0.0]], [0, 0, 0], Items.CORRECT))
    assert ties.radii(np.array([[1, 2, 3]]), F(0), F(2))[0].tolist() == [0.0, 0.0, math.inf]
    single = REFERENCE.prepare(
        LogitsBatch(torch.tensor([[[[2.0]]]]), torch.ones(1, 1, 1, dtype=torch.int64), Items.CORRECT, 255)
    )
    assert single.radii(np.array([[1]]), F(1), F(2))[0, 0] == pytest.approx(2.0, rel=1e-9)
    assert single.radii(np.array([[1]]), F(1), None)[0, 0] == pytest.approx(2.0, rel=1e-9)
    radii = single.radii(np.array([[1]]), F(1), F(2))
    assert radii.dtype == np.float64


def test_water_filling_by_hand() -> None:
    assert water_filling(0.0, [4.0]) == pytest.approx(8.0, rel=1e-11)
    assert water_filling(1.0, [4.0, 4.0]) == pytest.approx(6.0, rel=1e-11)
    # The second is below the level 5 of the first.
    assert water_filling(0.0, [10.0, 4.0]) == pytest.approx(50.0, rel=1e-11)
    assert water_filling(0.0, [10.0, 8.0]) == pytest.approx(36.0 + 16.0 + 4.0, rel=1e-11)
    assert water_filling(2.0, [2.0]) == 0.0
    for ahead, exact in (([4.0], 8), ([4.0, 4.0, 4.0], 12), ([10.0, 8.0], 56)):
        assert F(exact) * (1 - F(1, 2**39)) <= F(water_filling(0.0, ahead)) < exact


def test_one_class_by_hand() -> None:
    rows = [[0.0, 4.0, 1.0], [5.0, 1.0, 2.0], [0.0, 2.0, 3.0], [6.0, 0.0, 1.0], [0.0, 1.0, 9.0]]
    labels = [1, 0, 1, 2, 255]
    read = REFERENCE.prepare_class(batch(rows, labels, Items.CLASS, inside=(1,)))
    assert [int(x[0]) for x in (read.tp, read.fp, read.fn, read.tn)] == [1, 0, 1, 2]
    leave, enter = read.lists(0)
    assert (leave.tolist(), enter.tolist()) == ([3.0], [4.0, 6.0])
    assert not read.enter_squared
    water = REFERENCE.prepare_class(batch(rows, labels, Items.CLASS, inside=(1,), water=True))
    assert water.enter_squared
    leave, enter = water.lists(0)
    # Pixel 1: 4 and 1 above class 1; pixel 3: 6 and 1.
    assert enter.tolist() == pytest.approx([8.0, 18.0], rel=1e-11)
    shared = REFERENCE.prepare_class(batch(rows, labels, Items.CLASS, inside=(1,), share=0.5, whole_when_wrong=True))
    leave, enter = shared.lists(0)
    # The last is predicted wrong: entering costs all of it.
    assert (leave.tolist(), enter.tolist()) == ([1.5], [2.0, 6.0])
    halved = REFERENCE.prepare_class(batch(rows, labels, Items.CLASS, inside=(1,), share=0.5))
    assert halved.lists(0)[1].tolist() == [2.0, 3.0]
    merged = REFERENCE.prepare_class(batch(rows, labels, Items.CLASS, inside=(1, 2)))
    assert [int(x[0]) for x in (merged.tp, merged.fp, merged.fn, merged.tn)] == [2, 0, 1, 1]
    assert merged.lists(0)[0].tolist() == [3.0, 4.0]
    assert merged.lists(0)[1].tolist() == [3.0]
    outside = REFERENCE.prepare_class(batch(rows, [3, -1, 1, 0, 0], Items.CLASS, inside=(1,)))
    assert [int(x[0]) for x in (outside.tp, outside.fp, outside.fn, outside.tn)] == [0, 0, 1, 2]


@pytest.mark.parametrize("end", [0.0, 5e-324, 1e-300, 0.1, 1.0, 3.0, 1e17, 1.7e308, math.nextafter(math.inf, 0.0)])
@pytest.mark.parametrize("guess", [0.0, 1e-310, 1.0, 1e300, math.inf, math.nan, -1.0])
def test_the_searches_end_at_the_last_double_that_certifies(end: float, guess: float) -> None:
    asked = []
    told: list[tuple[float, float]] = []

    def certifies(eps: float) -> bool:
        asked.append(eps)
        for low, high in told:
            assert low < eps < high
        return eps <= end

    def narrowed(low: float, high: float) -> None:
        assert 0 < low <= end < high < math.inf
        told.append((low, high))

    assert largest_certifying(certifies, guess, narrowed) == end
    assert all(0 < eps < math.inf for eps in asked)
    assert len(asked) < 150
    assert largest_certifying(lambda eps: eps <= end, guess) == end
    for candidates in (2, 4, 8):
        rounds = []

        def certify(eps: np.ndarray, rounds: list[int] = rounds, candidates: int = candidates) -> np.ndarray:
            assert eps.shape == (2, candidates)
            assert (eps > 0).all()
            assert np.isfinite(eps).all()
            rounds.append(1)
            return eps <= np.array([[end], [1.0]])

        found = largest_certifying_each(certify, np.array([guess, 2.0]), candidates)
        assert found.tolist() == [end, 1.0]
        assert len(rounds) <= 70


def test_a_good_guess_is_fast() -> None:
    asked = []
    assert largest_certifying(lambda eps: bool(asked.append(eps)) or eps <= 1.0, 1.0 + 2**-40) == 1.0
    assert len(asked) < 40


def test_the_grid_is_the_finest_that_fits() -> None:
    assert [grid_bits(n) for n in (1, 2**22, 2**22 + 1, 2**23, 2**23 + 1, 2**39 + 1, 2**40 - 1)] == [
        40, 40, 39, 39, 38, 22, 22,
    ]  # fmt: skip
    for pixels in (2**22 + 1, 2**23, 2**30 + 5):
        assert pixels * (2 ** grid_bits(pixels) + 1) < 2**63

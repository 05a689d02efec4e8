"""Counting metrics by cells: the better of two bounds, each with its own constant, and radii to the last double."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from robspec.bounds import cells, counting, open_bound
from robspec.bounds.context import LEFT_OUT, Coarse, Context
from robspec.bounds.search import Found
from robspec.kernels import coarse
from robspec.kernels.coarse import CoarseBatch
from robspec.kernels.coarse.grid import Axis, Grid
from robspec.kernels.knapsack import Items
from robspec.kernels.knapsack.budget import Budget
from robspec.lipschitz.upsampling import interpolation
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L1, L2, Norm
from tests.bounds.language import metric
from tests.kernels.available import CPU

F = Fraction
ACCURACY, STABILITY = metric("pixel_accuracy", 2), metric("stability", 2)


def constant(value: Fraction, low: Fraction | None, norm: Norm = L2) -> Constant:
    return Constant(value, norm, norm, ConstantStatus.PROVED, coarse=low)


def nearest(nodes: int, pixels: int) -> Axis:
    return Axis.of([{o * nodes // pixels: F(1)} for o in range(pixels)], nodes)


def image(margins: list[float], labels: list[int] | None, grid: Grid | None) -> Context:
    """One row of nodes of two classes, of pixels without a grid; a positive margin is predicted as class 1."""
    logits = torch.tensor([[[0.0] * len(margins)], [margins]], dtype=torch.float64)[None]
    given = logits if grid is None else Coarse(logits, grid, lambda z: z.repeat_interleave(4, 3))
    return Context(CPU, given, None if labels is None else torch.tensor([[labels]]), 255)


FOUR = Grid(nearest(1, 1), nearest(1, 4))
"""Four pixels of one node."""


class Full:
    """A bound over full-size logits that certifies what it is told."""

    def __init__(self, value: Fraction | None, radius: Found, needed: int) -> None:
        self._value, self._radius, self._needed = value, radius, needed

    def clean(self) -> list[Fraction | None]:
        return [F(3, 4)]

    def counts(self) -> list[tuple[int, int]]:
        return [(3, 4)]

    def worst_case(self, budgets: Sequence[Fraction]) -> list[tuple[Fraction | None, ...]]:
        return [(self._value,) * len(budgets)]

    def radius(self, gammas: Sequence[Sequence[Fraction | None]], *, strict: bool) -> list[tuple[Found, ...]]:
        assert strict
        return [(self._radius,) * len(gammas[0])]

    def flips_needed(self, gammas: Sequence[Sequence[Fraction | None]], *, strict: bool) -> list[list[int]]:
        assert strict
        return [[self._needed] * len(gammas[0])]


class Cells:
    """Flips two pixels from a squared reach on, none before; counts in units of its own constant."""

    pixels, single, items = 4, False, np.array([3])
    grid = Grid(Axis.of([{0: F(1)}] * 2, 1), Axis.of([{0: F(1)}] * 2, 1))

    def __init__(self, reach: Fraction, level: int = 0) -> None:
        self._reach = Budget.of(reach, F(1), F(2), 4, single=False)
        self._level = level

    def flips_of(self, image: int, budget: Budget) -> int:
        assert image == 0
        if budget.limit == 0:
            return self._level
        return 2 if (budget.exponent, budget.scale) <= (self._reach.exponent, self._reach.scale) else 0

    def flips(self, budgets: Sequence[Budget]) -> Any:
        return np.array([[self.flips_of(0, budget) for budget in budgets]])


def bound(full: Full, found: Cells, low: Fraction = F(1, 2)) -> cells.Bound:
    return cells.Bound(full, found, constant(F(1), low))  # type: ignore[arg-type]


def test_the_better_of_two_values_that_both_hold() -> None:
    # Cells lose two of three pixels from eps 6 on, as their constant is 1/2: 1/4 is left, and 3/4 before.
    reach = Cells(F(3))
    assert bound(Full(F(1, 2), None, 0), reach).clean() == [F(3, 4)]
    assert bound(Full(F(1, 2), None, 0), reach).worst_case([F(5), F(7)]) == [(F(3, 4), F(1, 2))]
    assert bound(Full(F(0), None, 0), reach).worst_case([F(7), F(5)]) == [(F(1, 4), F(3, 4))]
    assert bound(Full(None, None, 0), reach).worst_case([F(5)]) == [(None,)]


@pytest.mark.parametrize(
    ("known", "needed", "found"),
    [
        (None, 2, None),
        (F(0), 0, F(0)),
        (F(7, 2), 0, F(7, 2)),
        (F(7, 2), -1, F(7, 2)),
        (math.inf, 2, math.inf),
        # As many as there are items are looked for, more never flip.
        (F(1), 4, math.inf),
        # What the full size certifies is never given up.
        (F(8), 1, F(8)),
        (F(8), 2, F(8)),
    ],
)
def test_a_radius_that_cells_do_not_decide(known: Found, needed: int, found: Found) -> None:
    assert bound(Full(F(0), known, needed), Cells(F(3))).radius([[F(0)]], strict=True) == [(found,)]


@pytest.mark.parametrize("known", [F(0), F(1), F(5, 2)])
@pytest.mark.parametrize("needed", [1, 2])
def test_a_radius_ends_at_the_last_double_that_certifies(known: Fraction, needed: int) -> None:
    it = Cells(F(3))
    ((radius,),) = bound(Full(F(0), known, needed), it).radius([[F(0)]], strict=True)
    assert isinstance(radius, Fraction)
    assert F(float(radius)) == radius

    def flips(eps: Fraction) -> int:
        return it.flips_of(0, Budget.of(eps, F(1, 2), F(2), 4, single=False))

    assert flips(radius) == 0
    assert flips(F(math.nextafter(float(radius), math.inf))) == 2
    assert abs(radius - 6) < F(1, 10**9)


def test_as_many_flips_as_there_are_items_have_a_radius() -> None:
    """All three can flip, and two do from a reach of 6 on: more than that is never looked for, but no infinity."""
    ((never,),) = bound(Full(F(0), F(1), 3), Cells(F(3))).radius([[F(0)]], strict=True)
    assert isinstance(never, Fraction)
    assert never > 10**300
    found = Cells(F(3))
    found.items = np.array([2])
    ((radius,),) = bound(Full(F(0), F(1), 2), found).radius([[F(0)]], strict=True)
    assert isinstance(radius, Fraction)
    assert abs(radius - 6) < F(1, 10**9)


@pytest.mark.parametrize("single", [False, True])
def test_budgets_are_those_of_the_coarse_logits(single: bool) -> None:
    asked: list[Budget] = []

    class Asked(Cells):
        def flips(self, budgets: Sequence[Budget]) -> Any:
            asked.extend(budgets)
            return np.array([[0] * len(budgets)])

    found = Asked(F(3))
    found.single = single
    bound(Full(F(0), None, 0), found).worst_case([F(5), F(7)])
    assert asked == [Budget.of(eps, F(1, 2), F(2), 4, single=single) for eps in (F(5), F(7))]


@pytest.mark.parametrize(("level", "needed", "found"), [(0, 1, math.inf), (1, 1, F(1, 8)), (1, 2, math.inf)])
def test_a_constant_of_zero_flips_ties_alone(level: int, needed: int, found: Found) -> None:
    it = bound(Full(F(0), F(1, 8), needed), Cells(F(3), level), F(0))
    assert it.radius([[F(0)]], strict=True) == [(found,)]


@pytest.mark.parametrize(
    ("asked", "norm", "low", "grid", "by_cells"),
    [
        (ACCURACY, L2, F(1), FOUR, True),
        (STABILITY, L2, F(1), FOUR, True),
        (ACCURACY, L1, F(1), FOUR, False),
        (ACCURACY, L2, None, FOUR, False),
        (ACCURACY, L2, F(1), None, False),
        (metric("top_k(2)", 3), L2, F(1), FOUR, False),
    ],
    ids=["accuracy", "stability", "l1", "no constant", "no grid", "rank"],
)
def test_where_cells_are_looked_at(
    asked: Any, norm: Norm, low: Fraction | None, grid: Grid | None, by_cells: bool
) -> None:
    seen = image([1.0] if grid else [1.0] * 4, [1] * 4, grid)
    if asked.rank > 1:
        seen = seen.of(torch.cat([seen.logits, seen.logits[:, :1] - 1], 1))
    assert isinstance(open_bound(asked, seen, constant(F(2), low, norm)), cells.Bound if by_cells else counting.Bound)


def test_four_pixels_of_one_node_flip_together() -> None:
    """One node moves all four: a margin of 2 costs an energy of 2 for all of them, where the full size sees 2 each.

    With a constant of 1 for the node the full size has one of 2 = sqrt(4), and flips n pixels from 4 eps^2 >= 2 n on;
    cells flip all from eps^2 >= 2 on, and no part of them before.
    """
    seen = image([2.0], [1, 1, 1, 0], FOUR)
    full = open_bound(ACCURACY, seen.full_size(), constant(F(2), F(1)))
    by_cells = open_bound(ACCURACY, seen, constant(F(2), F(1)))
    assert by_cells.clean() == full.clean() == [F(3, 4)]
    budgets = [F(1, 2), F(3, 4), F(1), F(5, 4), F(141, 100), F(142, 100)]
    assert full.worst_case(budgets) == [(F(3, 4), F(1, 2), F(1, 4), F(0), F(0), F(0))]
    assert by_cells.worst_case(budgets) == [(F(3, 4), F(3, 4), F(3, 4), F(3, 4), F(3, 4), F(0))]
    level = open_bound(STABILITY, image([2.0], None, FOUR), constant(F(2), F(1)))
    assert level.clean() == [F(1)]
    assert level.worst_case([F(0), F(2)]) == [(F(1), F(0))]


def test_cells_are_read_once_for_each_way_of_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[str, CoarseBatch]] = []
    prepare = coarse.prepare

    def spy(backend: str, batch: CoarseBatch) -> coarse.CoarsePrepared:
        read.append((backend, batch))
        return prepare(backend, batch)

    monkeypatch.setattr(coarse, "prepare", spy)
    seen = image([3.0], [1, 1, 0, 255], FOUR)
    one = seen.cells(ACCURACY, Items.CORRECT)
    assert seen.cells(ACCURACY, Items.CORRECT) is one
    other = seen.cells(STABILITY, Items.PREDICTED)
    assert other is not one
    assert (one.items.tolist(), other.items.tolist()) == ([2], [4])
    (name, batch), (_, whole) = read
    assert (name, batch.grid) == (CPU.name, FOUR)
    assert batch.logits is seen.given
    assert batch.labels is not None
    assert (batch.labels.tolist(), batch.ignore) == ([[[1, 1, 0, LEFT_OUT]]], LEFT_OUT)
    assert (whole.labels, whole.ignore) == (None, None)
    # The same batch without a look at cells shares what was read.
    full = seen.full_size()
    assert (full.by_cells, seen.by_cells) == (False, True)
    assert full.cells(ACCURACY, Items.CORRECT) is one
    assert full.seen(ACCURACY) is seen.seen(ACCURACY)


def test_full_size_logits_are_made_only_where_something_asks_for_them() -> None:
    """Two nodes of four pixels each, of which the second has no pixel predicted as class 1."""
    made: list[torch.Tensor] = []
    logits = torch.tensor([[[[0.0, 0.0]], [[2.0, -1.0]]]])
    grid = Grid(nearest(1, 1), nearest(2, 8))

    def enlarge(z: torch.Tensor) -> torch.Tensor:
        made.append(z)
        return z.repeat_interleave(4, 3)

    seen = Context(CPU, Coarse(logits, grid, enlarge), torch.ones(1, 1, 8, dtype=torch.int64), None)
    low = constant(F(2), F(1))
    assert (len(seen), seen.classes, seen.shape, seen.given is logits) == (1, 2, (1, 1, 8), True)
    assert open_bound(ACCURACY, seen, low).worst_case([F(1)]) == [(F(1, 2),)]
    assert open_bound(ACCURACY, seen.full_size(), low).clean() == [F(1, 2)]
    assert list(seen.finite()) == [True]
    assert seen.predicted() == [0, 1]
    assert seen.by_pairs().by_cells
    assert not made
    assert open_bound(metric("iou[c1]", 2), seen, low).clean() == [F(1, 2)]
    assert len(made) == 1
    assert seen.logits.shape == (1, 2, 1, 8)
    assert seen.predicted() == [0, 1]
    assert len(made) == 1
    assert Context(CPU, Coarse(logits[..., :1], FOUR, enlarge), None, None).predicted() == [1]
    assert list(Context(CPU, Coarse(logits * float("nan"), grid, enlarge), None, None).finite()) == [False]
    with pytest.raises(ValueError, match="no coarse logits"):
        seen.of(seen.logits).cells(ACCURACY, Items.CORRECT)


@pytest.mark.parametrize("seed", range(12))
def test_a_rate_of_one_class_is_that_of_full_size_logits_and_that_of_the_accuracy_of_its_pixels(seed: int) -> None:
    """Two other ways to the same numbers: full-size logits, and the accuracy where the class is annotated."""
    torch.manual_seed(seed)
    classes = 2 + seed % 2
    logits = (torch.randn(2, classes, 2, 3, dtype=torch.float64) * 4).round() / 4
    labels = torch.randint(0, classes, (2, 4, 9))
    labels[0, 0, :4] = 255
    if seed % 4 == 0:
        labels[1][labels[1] == 1] = 0  # an image without the class
    grid = Grid(nearest(2, 4), nearest(3, 9))

    def enlarge(z: torch.Tensor) -> torch.Tensor:
        return z.repeat_interleave(2, 2).repeat_interleave(3, 3)

    low = constant(F(2), F(1))
    seen = Context(CPU, Coarse(logits, grid, enlarge), labels, 255)
    full = Context(CPU, enlarge(logits), labels, 255)
    budgets = [F(0), F(1, 20), F(1, 4), F(1, 2), F(1), F(4)]
    recall, fnr = metric("recall[c1]", classes), metric("fnr[c1]", classes)
    within = replace(metric("pixel_accuracy", classes), region=(1,))
    gammas = [[F(1, 2), F(1, 4), None, F(1), F(0)]] * 2
    others = [[None if g is None else 1 - g for g in row] for row in gammas]
    for strict in (False, True):
        alone, expected = (open_bound(recall, c, low) for c in (seen.full_size(), full))
        assert alone.clean() == expected.clean()
        assert alone.worst_case(budgets) == expected.worst_case(budgets)
        assert alone.radius(gammas, strict=strict) == expected.radius(gammas, strict=strict)
        found, accuracy, missed = (open_bound(m, seen, low) for m in (recall, within, fnr))
        assert isinstance(found, cells.Rated)
        assert found.clean() == accuracy.clean()
        assert found.worst_case(budgets) == accuracy.worst_case(budgets)
        assert found.radius(gammas, strict=strict) == accuracy.radius(gammas, strict=strict)
        assert missed.radius(others, strict=strict) == found.radius(gammas, strict=strict)
        assert missed.worst_case(budgets) == [
            tuple(None if v is None else 1 - v for v in row) for row in found.worst_case(budgets)
        ]
    better = zip(found.worst_case(budgets), alone.worst_case(budgets), strict=True)
    assert all(a is None or b is None or a >= b for x, y in better for a, b in zip(x, y, strict=True))


@pytest.mark.parametrize(
    ("text", "covered"),
    [
        ("recall[c1]", True),
        ("fnr[c1]", True),
        ("recall[c0, c1]", False),
        ("specificity[c1]", False),
        ("iou[c1]", False),
        ("weighted pixel_accuracy", False),
    ],
)
def test_which_metrics_have_cells(text: str, covered: bool) -> None:
    assert counting.has_cells(metric(text, 3)) is covered


@pytest.mark.parametrize("size", [1.0, 2.0**400])
@pytest.mark.parametrize("low", [F(2) ** 1068, F(2) ** -40, F(1, 2**1040)], ids=["steep", "usual", "flat"])
def test_a_radius_by_parts_of_nodes_ends_with_the_doubles(size: float, low: Fraction) -> None:
    """Beyond the largest double nothing is looked for, nor between two that are next to each other."""
    axis = Axis.of(interpolation(4, 12, False, None), 4)
    logits = torch.tensor(np.random.default_rng(0).normal(size=(1, 3, 4, 4)) * size)
    read = coarse.prepare("cpu", CoarseBatch(logits, Grid(axis, axis), None, Items.PREDICTED))
    found = cells.radius_of(read, constant(low, low), 0, 40, F(0))
    assert found == F(float(found))
    assert found <= F(math.nextafter(math.inf, 0.0))
    budgets = [Budget.of(low * eps, F(1), F(2), read.pixels, single=False) for eps in (F(found), 2 * F(found))]
    assert cells.flips_within(read, budgets[:1])[0, 0] < 40
    assert cells.flips_within(read, budgets[1:])[0, 0] >= 40 or found == F(math.nextafter(math.inf, 0.0))

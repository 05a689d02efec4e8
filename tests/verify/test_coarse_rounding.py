"""Rounding of coarse logits: it adds to their own budget, and no full-size logits are made for it."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from robspec.bounds.context import Coarse, Context
from robspec.ir.types import Degraded, Property, RadiusQuery, WorstCaseQuery
from robspec.kernels.knapsack import backends
from robspec.lower import compile_text
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from robspec.verify.arithmetic import asked, bare, lessened
from robspec.verify.evaluate import BatchEvaluator, PooledEvaluator
from robspec.verify.result import ImageResult
from tests.bounds.grids import upsampling
from tests.kernels.test_coarse import least_energy
from tests.verify.test_arithmetic import TEXT, compiled

F = Fraction
OFF = F(1, 10)
"""What coarse logits may be off by."""
FAR = F(10**6)
"""A constant, and a rounding, with which full-size logits certify nothing."""


def constant(value: Fraction, rounding: Fraction, low: Fraction | None, off: Fraction) -> Constant:
    proved = Constant(value, L2, L2, ConstantStatus.PROVED, rounding=rounding)
    return replace(proved, coarse=low, coarse_rounding=off)


def within(metric: str, channels: int, budgets: tuple[Fraction, ...]) -> Property:
    prop = compiled(metric, channels).properties[0]
    assert isinstance(prop.query, WorstCaseQuery)
    return replace(prop, query=replace(prop.query, budgets=budgets))


@given(*[st.fractions(0, 4) for _ in range(2)], *[st.fractions(0, 1) for _ in range(2)], st.fractions(0, 2))
@example(F(0), F(1), F(1, 4), F(1, 2), F(1))
@example(F(0), F(1), F(0), F(1, 2), F(1))
@example(F(2), F(1), F(0), F(1, 2), F(1))
def test_coarse_logits_are_asked_for_their_own_rounding_and_full_size_ones_as_ever(
    value: Fraction, low: Fraction, rounding: Fraction, off: Fraction, eps: Fraction
) -> None:
    prop, both = within("pixel_accuracy", 2, (eps,)), constant(value, rounding, low, off)
    wanted, used = asked(prop, both)
    alone = constant(value, rounding, None, F(0))
    if value or rounding:
        assert asked(prop, alone) == (wanted, replace(used, coarse=None, coarse_rounding=F(0)))
    assert bare(used) == used
    assert isinstance(wanted.query, WorstCaseQuery)
    (budget,) = wanted.query.budgets
    assert used.coarse == low
    spent = low * budget + used.coarse_rounding
    # A constant network is asked at eps 0.
    assert spent == max(low * (eps if value else 0) + off, low * budget)
    left = lessened(budget, both)
    assert left is not None
    assert low * F(left) + off <= spent


class Problem:
    """Two classes, a few pixels, and the least change of coarse logits for every set of pixels to change class."""

    def __init__(self, seed: int) -> None:
        dice = np.random.default_rng(seed)
        kind, (h, w), sides = [
            ("bilinear", (1, 2), (1, 8)),
            ("aligned", (2, 2), (3, 3)),
            ("nearest", (2, 2), (2, 4)),
            ("bilinear", (1, 4), (1, 8)),
        ][seed % 4]
        self.grid, self.u = upsampling(kind, (h, w), sides)
        self.low = np.round(dice.normal(size=(2, h * w)) * 8) / 8
        self.margins = (self.low[1] - self.low[0]) @ self.u.T
        self.predicted = (self.margins > 0).astype(np.int64)
        self.labels = np.where(dice.random(len(self.margins)) < 0.7, self.predicted, 1 - self.predicted)
        self.pixels = len(self.margins)

    def context(self, backend: str = "cpu", *, enlarged: bool = False) -> Context:
        def enlarge(_: torch.Tensor) -> torch.Tensor:
            assert enlarged, "full-size logits are made"
            return torch.from_numpy(self.low @ self.u.T).reshape(1, 2, *self.grid.shape)

        logits = torch.from_numpy(self.low).reshape(1, 2, *self.grid.sides)
        labels = torch.from_numpy(self.labels).reshape(1, *self.grid.shape)
        return Context(backends()[backend], Coarse(logits, self.grid, enlarge), labels, None)

    def change(self, pixels: tuple[int, ...]) -> float:
        """Length of the shortest change of coarse logits that levels these pixels."""
        sides = np.where(self.margins > 0, 1.0, -1.0)
        rows = np.array([np.kron([[sides[w]], [-sides[w]]], self.u[w]).reshape(-1) for w in pixels])
        return math.sqrt(least_energy(rows, np.abs(self.margins[list(pixels)])))

    def sets(self, pixels: np.ndarray) -> list[tuple[float, int]]:
        """Of every set of some pixels how short a change levels it, and how many there are."""
        chosen = np.flatnonzero(pixels).tolist()
        some = [s for n in range(1, len(chosen) + 1) for s in itertools.combinations(chosen, n)]
        return [(0.0, 0), *((self.change(s), len(s)) for s in some)]

    def answer(self, prop: Property, stands_on: Constant, backend: str = "cpu") -> ImageResult:
        return BatchEvaluator(self.context(backend), ("x",)).answer(prop, stands_on)[0]


@pytest.mark.parametrize("metric", ["pixel_accuracy", "recall[b]"])
@pytest.mark.parametrize("seed", range(8))
def test_no_change_within_rounding_and_budget_leaves_fewer_right(metric: str, seed: int) -> None:
    """Every set of pixels: what rounding hides of a change an attack need not do."""
    it = Problem(seed)
    counted = np.ones(it.pixels, bool) if metric == "pixel_accuracy" else it.labels == 1
    right = counted & (it.predicted == it.labels)
    reaches = sorted(it.sets(right))
    budgets = tuple(F(k, 8) for k in range(12))
    for full in (FAR, F(2)):
        stands_on = constant(full, full * OFF, F(1), OFF)
        results = [it.answer(within(metric, 2, budgets), stands_on, name) for name in ("cpu", "reference")]
        assert results[0] == results[1]
        found = results[0]
        if not counted.any():
            assert found.certified == (None,) * len(budgets)
            continue
        for eps, low, high in zip(budgets, found.certified, found.attained, strict=True):
            lost = max(n for far, n in reaches if far <= float(eps + OFF) * (1 - 1e-9))
            assert isinstance(low, Fraction)
            assert low <= F(int(right.sum()) - lost, int(counted.sum()))
            # Among wrong pixels every set that rounding reaches may be right.
            gained = max(n for far, n in it.sets(counted & ~right) if far <= float(OFF) * (1 - 1e-9))
            assert isinstance(high, Fraction)
            assert high >= F(int(right.sum()) + gained, int(counted.sum()))


def test_rounding_is_what_makes_the_difference() -> None:
    """Without it more is certified of the very same problems, and a hair of it levels a tie."""
    budgets = tuple(F(k, 8) for k in range(12))
    less = 0
    for seed in range(8):
        asks = within("pixel_accuracy", 2, budgets)
        plain, rounded, hair = (
            Problem(seed).answer(asks, constant(F(10**9) + off, F(0), F(1), off)).certified
            for off in (F(0), OFF, F(1, 10**12))
        )
        for a, b, c in zip(plain, rounded, hair, strict=True):
            assert a is not None
            assert b is not None
            assert c is not None
            assert b <= c <= a
            less += b < a
    assert less > 10


@pytest.mark.parametrize("seed", range(12))
def test_stability_counts_from_what_the_function_predicts(seed: int) -> None:
    """The function's own prediction may be another: two changes, one hidden by rounding and one by an attack."""
    it, dice = Problem(seed), np.random.default_rng(seed)
    eps, off = F(3, 8), F(1, 4)
    found = it.answer(within("stability", 2, (eps,)), constant(FAR, FAR, F(1), off))
    (low,), (high,) = found.certified, found.attained
    assert isinstance(low, Fraction)
    assert high == 1
    worst = it.pixels
    for _ in range(300):
        changes = []
        for reach in (off, eps):
            change = dice.normal(size=it.low.shape) * (dice.random(it.low.shape) < 0.6)
            change += np.outer([-1, 1], dice.normal() * it.u[dice.integers(it.pixels)])
            size = float(np.linalg.norm(change))
            changes.append(change * float(reach) * (1 - 1e-9) / size if size else change)
        exact = it.low + changes[0]
        reached = exact + changes[1]
        same = ((exact[1] - exact[0]) @ it.u.T > 0) == ((reached[1] - reached[0]) @ it.u.T > 0)
        worst = min(worst, int(same.sum()))
    assert low <= F(worst, it.pixels)


@pytest.mark.parametrize("metric", ["pixel_accuracy", "stability", "recall[b]"])
@pytest.mark.parametrize("seed", range(8))
def test_a_radius_is_where_the_budget_of_the_sum_certifies_no_more(metric: str, seed: int) -> None:
    it = Problem(seed)
    prop = compiled(metric, 2).properties[1]
    assert isinstance(prop.query, RadiusQuery)
    (objective,) = prop.query.objectives
    assert isinstance(objective, Degraded)
    for off in (F(0), F(1, 10**9), OFF):
        for low in (F(0), F(1, 3)):
            stands_on = constant(FAR, FAR * off, low, off)
            found = it.answer(prop, stands_on)
            (radius,) = found.certified
            if radius is None or radius == math.inf:
                assert radius is None or low == 0 or found.clean is not None
                continue
            # Parts of nodes are made for each budget that is tried, to one part in 2^12 of what they add.
            near = (F(radius), F(radius) * (1 + F(1, 2**10)) + F(1, 10**6))
            certified = it.answer(within(metric, 2, near), stands_on).certified
            # At the radius itself the objective h <= 1/2 is not met, unless it is nothing; a little beyond it may be.
            assert radius == 0 or (certified[0] is not None and certified[0] > F(1, 2))
            assert certified[1] is not None
            assert certified[1] <= F(1, 2)


def ratio_of(it: Problem, flipped: tuple[int, ...]) -> Fraction:
    """The IoU of class b once some pixels have changed class; 0 where neither has any."""
    predicted = it.predicted.copy()
    predicted[list(flipped)] = 1 - predicted[list(flipped)]
    mine, theirs = predicted == 1, it.labels == 1
    return F(int((mine & theirs).sum()), max(int((mine | theirs).sum()), 1))


@pytest.mark.parametrize("metric", ["pooled iou[b]", "iou[b]", "pixel_accuracy"])
def test_no_radius_of_a_network_that_does_not_move_hides_its_rounding(metric: str) -> None:
    """Over the reals it may be any of what is within its rounding: no attack is needed where one of these is bad."""
    finite, infinite = 0, 0
    for seed in range(24):
        it = Problem(seed)
        text = TEXT.format(metric=metric, channels=2, classes="a, b")
        if metric.startswith("pooled"):
            text = text.replace(" for all images", "").replace("mean(worst_case)", "worst_case")
        program, diagnostics = compile_text(text)
        assert program is not None, diagnostics
        (prop,) = [p for p in program.properties if isinstance(p.query, RadiusQuery)]
        for off in (F(1, 100), OFF, F(1, 2), F(1)):
            stands_on = constant(F(0), FAR * off, F(0), off)
            if metric.startswith("pooled"):
                evaluator = PooledEvaluator([(prop, stands_on)], (2, *it.grid.shape))
                evaluator.add(it.context(enlarged=True))
                (found,) = evaluator.answer(prop.name)
                evaluator.close()
            else:
                (found,) = BatchEvaluator(it.context(enlarged=True), ("x",)).answer(prop, stands_on)
            (radius,) = found.certified
            if radius != math.inf:
                finite += radius is not None
                continue
            infinite += 1
            right = it.predicted == it.labels
            near = [s for n in range(1, 4) for s in itertools.combinations(np.flatnonzero(right).tolist(), n)]
            for flipped in ((), *(s for s in near if it.change(s) <= float(off) * (1 - 1e-9))):
                kept = F(int(right.sum()) - len(flipped), it.pixels)
                assert (kept if metric == "pixel_accuracy" else ratio_of(it, flipped)) > F(1, 2)
    assert finite
    assert infinite

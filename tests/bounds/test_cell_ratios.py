"""Ratios by cells: equal integers on both backends, never better than what some change of coarse logits leaves."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace
from fractions import Fraction
from functools import cached_property

import numpy as np
import pytest
import torch

from robspec.bounds import cell_ratios, open_bound
from robspec.bounds.cell_ratios import Spread
from robspec.bounds.context import Coarse, Context
from robspec.bounds.pooled import Pool
from robspec.ir.types import Metric
from robspec.kernels import coarse
from robspec.kernels.coarse import ClassBatch
from robspec.kernels.coarse.grid import Axis, Grid
from robspec.kernels.knapsack import backends
from robspec.kernels.knapsack.budget import Budget
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from tests.bounds.grids import upsampling
from tests.bounds.language import metric
from tests.kernels.test_coarse import least_energy, lines

F = Fraction
IGNORED = 255
FAR = F(10**6)
"""A constant with which full-size logits certify nothing that is not certain."""
METRICS = ("iou[c1]", "dice[c1]", "precision[c1]", "specificity[c1]", "fpr[c1]", "iou[c0]")


def drawn(seed: int) -> tuple[ClassBatch, random.Random]:
    rng = random.Random(seed)  # noqa: S311  (a test draws numbers, not secrets)
    torch.manual_seed(seed)
    b, k = rng.choice([1, 2]), rng.choice([1, 2, 3, 5])
    h, w = rng.randint(1, 6), rng.randint(1, 6)
    height, width = rng.randint(1, 4 * h), rng.randint(1, 4 * w)
    grid = Grid(Axis.of(lines(rng, h, height), h), Axis.of(lines(rng, w, width), w))
    steps = rng.choice([1, 2, 1000])
    logits = (torch.randn(b, k, h, w, dtype=torch.float64) * steps).round() / steps
    labels = torch.randint(0, max(k, 2), (b, height, width))
    labels[torch.rand(labels.shape) < 0.1] = IGNORED
    inside = tuple(rng.sample(range(max(k, 2)), rng.randint(1, max(k, 2) - 1)))
    return ClassBatch(logits, grid, labels, inside), rng


@pytest.mark.parametrize("seed", range(60))
def test_backends_give_up_the_same(seed: int) -> None:
    batch, rng = drawn(seed)
    one, two = (coarse.prepare_class(name, batch) for name in ("reference", "cpu"))
    assert one.counts.tolist() == two.counts.tolist()
    assert (one.pixels, one.single, one.colours) == (two.pixels, two.single, two.colours)
    for reach in ("0", "0.01", "0.3", "1", "3", "1e-200", "1e200", str(rng.random())):
        budget = Budget.of(F(reach), F(1), F(2), one.pixels, single=one.single)
        for _ in range(3):
            most = rng.choice([1, 1000, 2**30, budget.limit + 1])
            prices = [
                np.array([rng.randint(0, min(most, budget.limit + 1)) for _ in range(one.colours)]) for _ in range(2)
            ]
            for image in range(len(batch.logits)):
                found = [it.given_up(image, budget, *prices).tolist() for it in (one, two)]
                assert found[0] == found[1]


@pytest.mark.parametrize("seed", range(40))
def test_what_flips_are_worth_is_never_less_than_the_best_choice(seed: int) -> None:
    """Dynamic programming over the choices of all cells of a colour, in the very integers of the bound."""
    batch, rng = drawn(1000 + seed)
    read = coarse.prepare_class("reference", batch)
    budget = Budget.of(F(rng.choice(["0.2", "0.7", "2"])), F(1), F(2), read.pixels, single=read.single)
    leave, enter = F(rng.randint(0, 4), 4), F(rng.randint(0, 5), 3)
    found, _ = Spread(lambda: read, 0, budget).worth(leave, enter)
    choices: dict[int, dict[tuple[int, int], list[tuple[int, Fraction]]]] = {}
    for row, column, key, enters in read._keys[0]:  # type: ignore[attr-defined]
        cost = coarse_cost(key, budget)
        colour = row % batch.grid.rows.colours * batch.grid.columns.colours + column % batch.grid.columns.colours
        if cost <= budget.limit:
            choices.setdefault(colour, {}).setdefault((row, column), []).append((cost, enter if enters else leave))
    best = F(0)
    for cells in choices.values():
        frontier: dict[int, Fraction] = {0: F(0)}
        for items in cells.values():
            merged = dict(frontier)
            for level in {cost for cost, _ in items}:
                gain = sum((g for c, g in items if c <= level), F(0))
                for spent, worth in frontier.items():
                    if spent + level <= budget.limit:
                        merged[spent + level] = max(merged.get(spent + level, F(0)), worth + gain)
            # Only what is worth more than everything cheaper.
            frontier, top = {}, F(-1)
            for spent in sorted(merged):
                if merged[spent] > top:
                    frontier[spent], top = merged[spent], merged[spent]
        best += max(frontier.values())
    assert found >= best
    # No more than one cell's step in each colour above it, and a part in a hundred for the price.
    step = max(
        (sum((g for _, g in items), F(0)) for cells in choices.values() for items in cells.values()), default=0
    )
    assert found <= (best + batch.grid.colours * step) * F(101, 100)


def coarse_cost(key: float, budget: Budget) -> int:
    return min(math.floor(F(key) * F(budget.scale)), budget.limit + 1)


class Problem:
    """Few pixels of two classes, or of one logit, and the shortest change that levels each set of them."""

    def __init__(self, seed: int) -> None:
        dice = np.random.default_rng(seed)
        kind, (h, w), sides = [
            ("bilinear", (1, 2), (1, 8)),
            ("aligned", (2, 2), (3, 3)),
            ("nearest", (2, 2), (2, 4)),
            ("bilinear", (1, 4), (1, 9)),
        ][seed % 4]
        self.grid, self.u = upsampling(kind, (h, w), sides)
        self.single = seed % 3 == 0
        self.low = np.round(dice.normal(size=(1 if self.single else 2, h * w)) * 8) / 8
        self.margins = (self.low[-1] - (0 if self.single else self.low[0])) @ self.u.T
        self.pixels = len(self.margins)
        self.predicted = (self.margins > 0).astype(np.int64)
        self.labels = np.where(dice.random(len(self.margins)) < 0.8, self.predicted, 1 - self.predicted)

    def context(self, backend: str = "cpu") -> Context:
        logits = torch.from_numpy(self.low).reshape(1, -1, *self.grid.sides)
        labels = torch.from_numpy(self.labels).reshape(1, *self.grid.shape)
        u = torch.from_numpy(self.u)

        def enlarge(z: torch.Tensor) -> torch.Tensor:
            return (z.reshape(1, z.shape[1], -1) @ u.T).reshape(1, z.shape[1], *self.grid.shape)

        return Context(backends()[backend], Coarse(logits, self.grid, enlarge), labels, None)

    @cached_property
    def attacks(self) -> list[tuple[float, np.ndarray]]:
        """Of every set of right pixels how short a change levels it, and what is predicted then."""
        right = np.flatnonzero(self.predicted == self.labels).tolist()
        sides = np.where(self.margins > 0, 1.0, -1.0)
        found = [(0.0, self.predicted)]
        for n in range(1, len(right) + 1):
            for chosen in itertools.combinations(right, n):
                parts = ([[sides[w]]] if self.single else [[-sides[w]], [sides[w]]] for w in chosen)
                rows = np.array([np.kron(p, self.u[w]).reshape(-1) for p, w in zip(parts, chosen, strict=True)])
                after = self.predicted.copy()
                after[list(chosen)] ^= 1
                found.append((math.sqrt(least_energy(rows, np.abs(self.margins[list(chosen)]))), after))
        return found


def value(asked: Metric, predicted: np.ndarray, labels: np.ndarray) -> Fraction | None:
    (k,) = asked.classes
    mine, said = labels == k, predicted == k
    counts = [int(np.sum(part)) for part in (mine & said, ~mine & said, mine & ~said, ~mine & ~said)]
    defined = asked.formula.defined
    if defined is not None and defined.at(*counts) == 0:
        return None
    found = asked.formula.ratio.at(*counts)
    return asked.worst if found is None else found


def constant(full: Fraction, low: Fraction | None) -> Constant:
    return Constant(full, L2, L2, ConstantStatus.PROVED, coarse=low)


@pytest.mark.parametrize("text", METRICS)
@pytest.mark.parametrize("seed", range(8))
def test_no_change_of_coarse_logits_does_worse(text: str, seed: int) -> None:
    it = Problem(seed)
    asked = metric(text, 2, single=it.single)
    attacks = it.attacks
    sign = -1 if asked.lower_is_better else 1
    budgets = [F(k, 8) for k in range(14)]
    norm = F(math.ceil(1000 * np.linalg.norm(it.u, 2)), 1000)
    for full in (FAR, norm):
        bound = open_bound(asked, it.context(), constant(full, F(1)))
        assert isinstance(bound, cell_ratios.Bound)
        alone = open_bound(asked, it.context(), constant(full, None))
        (row,), (less,), (clean,) = bound.worst_case(budgets), alone.worst_case(budgets), bound.clean()
        if clean is None:
            assert row == (None,) * len(budgets)
            continue
        for eps, found, known in zip(budgets, row, less, strict=True):
            assert found is not None
            assert known is not None
            worst = min(
                sign * v
                for far, after in attacks
                if far <= float(eps) * (1 - 1e-9) and (v := value(asked, after, it.labels)) is not None
            )
            assert sign * known <= sign * found <= worst
        gammas = [clean - sign * F(1, 10), (clean + (0 if sign > 0 else 1)) / 2, clean, F(1, 3)]
        for strict in (False, True):
            ((*radii,), (*before,)) = (b.radius([gammas], strict=strict)[0] for b in (bound, alone))
            for gamma, radius, known in zip(gammas, radii, before, strict=True):
                assert radius is not None
                assert known is not None
                assert radius >= known
                for far, after in attacks:
                    v = value(asked, after, it.labels)
                    met = v is not None and (sign * v < sign * gamma if strict else sign * v <= sign * gamma)
                    assert not met or far >= float(radius) * (1 - 1e-9)


@pytest.mark.parametrize("seed", range(30))
def test_no_attack_on_several_classes_does_worse(seed: int) -> None:
    """Sets of classes, of which one leaves for any other and enters past all: random changes, and such as aim."""
    batch, _ = drawn(2000 + seed)
    dice = np.random.default_rng(seed)
    grid, classes = batch.grid, batch.classes
    logits, labels = batch.logits[:1], batch.labels[:1]
    rows, columns = (_dense(axis) for axis in (grid.rows, grid.columns))
    u = np.kron(rows, columns)
    low = logits[0].reshape(len(logits[0]), -1).numpy()

    def enlarge(z: torch.Tensor) -> torch.Tensor:
        full = z.reshape(1, z.shape[1], -1) @ torch.from_numpy(u).T
        return full.reshape(1, z.shape[1], *grid.shape)

    seen = Context(backends()["cpu"], Coarse(logits, grid, enlarge), labels, IGNORED)
    names = ", ".join(f"c{k}" for k in batch.inside)
    eps = F(round(float(dice.uniform(0.1, 2)) * 64), 64)
    asked = metric(f"iou[{names}]", classes, single=len(low) == 1)
    ((found,),) = open_bound(asked, seen, constant(FAR, F(1))).worst_case([eps])
    if found is None:
        return
    kept = labels[0].reshape(-1).numpy()
    mine, there = np.isin(kept, batch.inside), kept != IGNORED

    def shared(z: np.ndarray) -> tuple[np.ndarray, Fraction]:
        predicted = (z[0] > 0).astype(np.int64) if len(z) == 1 else z.argmax(0)
        said = np.isin(predicted, batch.inside)
        return predicted, F(int(np.sum(mine & said & there)), max(int(np.sum((mine | said) & there)), 1))

    before, _ = shared(low @ u.T)
    for step in range(60):
        change = dice.normal(size=low.shape) * 0.1
        for w in np.flatnonzero((np.isin(before, batch.inside) == mine) & there & (dice.random(len(kept)) < 0.4)):
            others = [k for k in range(classes) if (k in batch.inside) != mine[w]]
            if len(low) == 1:
                change[0] += u[w] * (1 if others == [1] else -1)
            else:
                change[dice.choice(others)] += u[w] / (step % 3 + 1)
                change[before[w]] -= u[w] / (step % 3 + 1)
        size = float(np.linalg.norm(change))
        _, left = shared((low + change * float(eps) * (1 - 1e-9) / size) @ u.T)
        assert found <= left


def _dense(axis: Axis) -> np.ndarray:
    found = np.zeros((len(axis.cells), axis.nodes))
    for w, (cell, weights) in enumerate(zip(axis.cells, axis.weights, strict=True)):
        found[w, cell : cell + len(weights)] = weights
    return found


POOLED = ("pooled iou[c1]", "pooled dice[c0]", "pooled precision[c1]", "pooled mean_iou", "pooled m[c1]")
DEFINED = "metric m(k) lower_is_better = (FP[k] + FN[k]) / (TP[k] + FP[k] + FN[k])"


@pytest.mark.parametrize("text", POOLED)
@pytest.mark.parametrize("seed", range(6))
def test_no_changes_of_several_images_do_worse_together(text: str, seed: int) -> None:
    """Every choice of one set of pixels for each image that its own budget reaches."""
    problems = [Problem(seed + 3 * i) for i in range(3)]
    asked = metric(text, 2, DEFINED, single=problems[0].single)
    parts, sign = asked.each(2), -1 if asked.lower_is_better else 1
    budgets = [F(k, 8) for k in (0, 1, 3, 5, 9)]
    found, known = (
        _pooled(asked, problems, replace(constant(FAR, low), coarse_rounding=F(0)), max(budgets))
        for low in (F(1), None)
    )
    (rows, radius), (less, before) = (
        (pool.worst_case(budgets), _radius(asked, problems, low)) for pool, low in ((found, F(1)), (known, None))
    )
    clean = found.clean()
    assert clean is not None
    for eps, value_, other in zip(budgets, rows, less, strict=True):
        assert value_ is not None
        assert other is not None
        worst = _worst_of_all(parts, problems, eps)
        assert sign * other <= sign * value_ <= sign * worst
        if radius[0] != math.inf and eps < F(radius[0]):
            assert sign * worst > sign * radius[1]
    assert radius[0] >= before[0]


def _pooled(asked: Metric, problems: list[Problem], stands_on: Constant, largest: Fraction | None) -> Pool:
    pool = Pool(asked, 2, stands_on, largest)
    for it in problems:
        pool.add(it.context())
    return pool


def _radius(asked: Metric, problems: list[Problem], low: Fraction | None) -> tuple[Fraction | float, Fraction]:
    pool = _pooled(asked, problems, constant(FAR, low), None)
    clean = pool.clean()
    assert clean is not None
    gamma = clean + F(1, 5) if asked.lower_is_better else clean - F(1, 5)
    found = pool.radius(gamma, strict=False)
    assert found is not None
    return found, gamma


def _worst_of_all(parts: tuple[Metric, ...], problems: list[Problem], eps: Fraction) -> Fraction:
    values = []
    for part in parts:
        (k,) = part.classes
        reached = []
        for it in problems:
            mine, some = it.labels == k, set()
            for far, after in it.attacks:
                if far <= float(eps) * (1 - 1e-9):
                    said = after == k
                    some.add(tuple(int(np.sum(s)) for s in (mine & said, ~mine & said, mine & ~said, ~mine & ~said)))
            reached.append(some)
        found = []
        for choice in itertools.product(*reached):
            counts = [sum(n) for n in zip(*choice, strict=True)]
            v = part.formula.ratio.at(*counts)
            found.append(part.worst if v is None else v)
        known = [v for v in found if v is not None]
        values.append(max(known) if part.lower_is_better else min(known))
    # Each part at its own worst: the mean is at least that.
    return sum(values, F(0)) / len(values)


def test_pooled_cells_certify_more_and_backends_agree() -> None:
    problems = [Problem(seed) for seed in (0, 12, 24)]
    budgets = [F(k, 8) for k in range(1, 6)]
    asked = metric("pooled iou[c1]", 2, single=True)
    rows = []
    for name, low in (("cpu", F(1)), ("reference", F(1)), ("cpu", None)):
        for largest in (max(budgets), None):
            pool = Pool(asked, 2, constant(FAR, low), largest)
            for it in problems:
                pool.add(it.context(name))
            rows.append(pool.worst_case(budgets))
            pool.close()
    assert rows[0] == rows[1] == rows[2] == rows[3]
    assert rows[4] == rows[5]
    assert sum(a > b for a, b in zip(rows[0], rows[4], strict=True) if a is not None and b is not None) >= 2


def test_cells_certify_more_where_pixels_move_together() -> None:
    """Somewhere by much, and radii agree with values."""
    better = agree = 0
    for seed in range(12):
        it = Problem(seed)
        for text in METRICS:
            asked = metric(text, 2, single=it.single)
            sign = -1 if asked.lower_is_better else 1
            stands_on = constant(FAR, F(1))
            bound = open_bound(asked, it.context(), stands_on)
            alone = open_bound(asked, it.context(), constant(FAR, None))
            eps = F(3, 8)
            ((found,),), ((less,),) = bound.worst_case([eps]), alone.worst_case([eps])
            if found is None or less is None:
                continue
            better += sign * found > sign * less
            ((radius,),) = bound.radius([[found - sign * F(1, 2**30)]], strict=False)
            assert radius is not None
            agree += radius >= eps * (1 - F(1, 2**18))
            if radius != math.inf:
                ((beyond,),) = bound.worst_case([F(radius) * F(1.001) + F(1, 1000)])
                assert beyond is not None
    assert better > 20
    assert agree > 60


def test_rounding_of_coarse_logits_is_paid_for() -> None:
    it = Problem(1)
    asked = metric("iou[c1]", 2)
    plain, rounded = (
        open_bound(asked, it.context(), replace(constant(FAR, F(1)), coarse_rounding=off)) for off in (F(0), F(1, 8))
    )
    budgets = [F(k, 8) for k in range(1, 8)]
    assert plain.worst_case([b + F(1, 8) for b in budgets]) == rounded.worst_case(budgets)


def test_a_denominator_that_may_vanish_is_left_to_full_size_logits() -> None:
    """Precision of a class that may not be predicted at all."""
    logits = torch.tensor([[[[0.0, 0.0]], [[1.0, -1.0]]]], dtype=torch.float64)
    grid = Grid(Axis.of([{0: F(1)}], 1), Axis.of([{0: F(1)}, {1: F(1)}], 2))
    seen = Context(backends()["cpu"], Coarse(logits, grid, lambda z: z), torch.tensor([[[1, 0]]]), None)
    found = open_bound(metric("precision[c1]", 2), seen, constant(F(1), F(1)))
    assert isinstance(found, cell_ratios.Bound)
    assert found.worst_case([F(1, 2), F(2)]) == [(F(1), F(0))]


@pytest.mark.parametrize(
    ("text", "covered"),
    [
        ("iou[c1]", True),
        ("dice[c0, c1]", True),
        ("precision[c1]", True),
        ("specificity[c1]", True),
        ("recall[c0, c1]", True),
        ("mean_iou", False),
        ("weighted specificity[c1]", False),
        ("pixel_accuracy", False),
    ],
)
def test_which_metrics_are_ratios_by_cells(text: str, covered: bool) -> None:
    assert cell_ratios.has_cells(metric(text, 3)) is covered


def test_a_budget_that_runs_out_pays_for_the_cells_that_are_worth_most() -> None:
    """Forty cells of two pixels, a price each: the fractional knapsack in rationals, to a part in a thousand."""
    dice = np.random.default_rng(5)
    margins = dice.uniform(0.2, 1, 40)
    logits = torch.zeros(1, 2, 1, 40, dtype=torch.float64)
    logits[0, 1, 0] = torch.from_numpy(margins)
    grid = Grid(Axis.of([{0: F(1)}], 1), Axis.of([{o // 2: F(1)} for o in range(80)], 40))
    labels = torch.from_numpy(np.tile([1, 0], 40).reshape(1, 1, 80))
    read = coarse.prepare_class("cpu", ClassBatch(logits, grid, labels, (1,)))
    # One pixel of each cell is right, and the other a false alarm, which stays one.
    assert read.counts.tolist() == [[40, 40, 0, 0]]
    for reach in (F(1, 2), F(1), F(2)):
        budget = Budget.of(reach, F(1), F(2), read.pixels, single=False)
        left, best = reach**2, F(0)
        for key in sorted(F(d) ** 2 / 2 for d in margins):
            part = min(left, key)
            left, best = left - part, best + part / key
        found, (leaves, enters) = Spread(lambda: read, 0, budget).worth(F(3), F(1))
        assert 3 * best * F(999999, 1000000) <= found <= 3 * best * F(1001, 1000)
        assert best * F(9, 10) <= leaves <= best * F(11, 10)
        assert enters == 0


def test_nothing_is_certified_that_the_image_itself_is_not_worth() -> None:
    """Full-size logits of the network are a little off its definition: of a level pixel they see less."""
    logits = torch.tensor([[[[0.0, 0.0, 0.0]], [[1e-9, 1.0, 1.0]]]], dtype=torch.float64)
    grid = Grid(Axis.of([{0: F(1)}], 1), Axis.of([{o: F(1)} for o in range(3)], 3))
    off = torch.tensor([[[[2e-9, 0.0, 0.0]], [[0.0, 0.0, 0.0]]]], dtype=torch.float64)
    seen = Context(backends()["cpu"], Coarse(logits, grid, lambda z: z + off), torch.tensor([[[1, 1, 1]]]), None)
    for text in ("iou[c1]", "pooled iou[c1]"):
        asked = metric(text, 2)
        stands_on = constant(F(10), F(1, 10**12))
        if text == "iou[c1]":
            bound = open_bound(asked, seen, stands_on)
            ((found,),), (clean,) = bound.worst_case([F(1)]), bound.clean()
        else:
            pool = Pool(asked, 2, stands_on)
            pool.add(seen)
            (found,), clean = pool.worst_case([F(1)]), pool.clean()
        assert clean == F(2, 3)
        assert found == clean

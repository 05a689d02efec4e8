"""The integer program over energies of nodes: no better than real changes, no worse than the bound; it notices."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from robspec.bounds import open_bound
from robspec.ir.types import Degraded, Property, RadiusQuery, Threshold, WorstCaseQuery
from robspec.oracle import cells
from robspec.oracle.compare import Subject
from robspec.oracle.scene import Scene
from robspec.verify import crosscheck_cells
from robspec.verify.case import Case, Kind
from robspec.verify.crosscheck_cells import by_cells, nodes_of, together_by_cells
from robspec.verify.evaluate import BatchEvaluator
from robspec.verify.piece import pieces
from tests.bounds.language import metric
from tests.bounds.test_cell_ratios import DEFINED, FAR, Problem, _pooled, _worst_of_all, constant, value
from tests.verify.test_arithmetic import compiled

F = Fraction
METRICS = ("pixel_accuracy", "iou[c1]", "dice[c0]", "recall[c1]", "fpr[c1]")


def scene_of(it: Problem) -> tuple[Scene, cells.Nodes]:
    context = it.context()
    assert context.coarse is not None
    nodes = nodes_of(context.coarse, 0)
    count = it.pixels
    every = np.ones(count, np.bool_)
    return Scene(nodes.pixels(), it.labels, ~every, every, np.ones(count), 2), nodes


@pytest.mark.parametrize("seed", range(8))
def test_pixels_are_made_of_their_nodes(seed: int) -> None:
    it = Problem(seed)
    scene, nodes = scene_of(it)
    assert scene.logits == pytest.approx((it.low @ it.u.T).T, abs=1e-12)
    assert nodes.weights.sum(axis=1) == pytest.approx(np.ones(it.pixels))


@pytest.mark.parametrize("text", METRICS)
@pytest.mark.parametrize("seed", range(8))
def test_between_the_bound_and_every_real_change(text: str, seed: int) -> None:
    it = Problem(seed)
    asked = metric(text, 2, single=it.single)
    sign = -1 if asked.lower_is_better else 1
    scene, nodes = scene_of(it)
    budgets = [F(0), F(1, 4), F(1, 2), F(1), F(2)]
    bound = open_bound(asked, it.context(), constant(FAR, F(1)))
    (row,), (clean,) = bound.worst_case(budgets), bound.clean()
    for eps, certified in zip(budgets, row, strict=True):
        if clean is None or certified is None:
            continue
        found = cells.worst(asked, scene, nodes, eps, certified)
        assert found is not None
        assert found.complete
        assert sign * certified <= sign * found.value
        reached = [after for far, after in it.attacks if far <= float(eps) * (1 - 1e-5)]
        if text == "pixel_accuracy":
            values = [F(int(np.sum(after == it.labels)), it.pixels) for after in reached]
        else:
            values = [v for after in reached if (v := value(asked, after, it.labels)) is not None]
        real = min(sign * v for v in values)
        if not eps:  # what is level is not looked at where nothing moves
            continue
        # Where flips are worth what they are at the worst that a real change leaves, nothing better is found.
        again = cells.worst(asked, scene, nodes, eps, sign * real)
        assert again is not None
        assert sign * again.value <= real


def asked_of(it: Problem, prop: Property) -> Case:
    piece = pieces(it.context())[0]
    stands_on = constant(FAR, F(1))
    return Case(Kind.OPTIMUM, Subject("x", prop.name, "whole image"), prop, stands_on, None, (piece,), False)


def test_a_bound_that_claims_too_much_is_noticed() -> None:
    """A value and a radius a little beyond what is certified, on problems where that is all that holds."""
    noticed = {"worst": 0, "far": 0}
    for seed in range(16):
        it = Problem(seed)
        if it.single:
            continue
        context = it.context()
        assert context.coarse is not None
        nodes = nodes_of(context.coarse, 0)
        program = compiled("pixel_accuracy", 2)
        worst, far = program.properties
        assert isinstance(worst.query, WorstCaseQuery)
        worst = replace(worst, query=replace(worst.query, budgets=(F(1, 2),)))
        for prop in (worst, far):
            evaluator = BatchEvaluator(it.context(), ("x",))
            (certified,) = evaluator.answer(prop, constant(FAR, F(1)))[0].certified
            (ordinary,) = evaluator.answer(prop, constant(FAR, None))[0].certified
            case = asked_of(it, prop)
            for _, comparison in by_cells(case, nodes, certified, ordinary):
                assert comparison.agreed
            if certified is None or isinstance(certified, float):
                continue
            planted = certified + F(2, it.pixels) if prop is worst else certified * 2
            for _, comparison in by_cells(case, nodes, planted, ordinary):
                noticed[prop.name] += comparison.agreed is False
                assert (comparison.agreed is False) == comparison.note.startswith("the bound")
    assert noticed["worst"] >= 3
    assert noticed["far"] >= 3


def test_pixels_take_what_their_own_nodes_have() -> None:
    """The only pixel that matters is made of two nodes, 3 to 1: energy that lies at the wrong one buys nothing."""
    one = cells.Nodes(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[0, 1]]), np.array([[0.75, 0.25]]))
    # d = 1, ||u||^2 = 10/16: 0.8 at (0.72, 0.08); all of it at either node would take 8/9 or 8.
    strength, needed = np.array([[0.75, 0.25]]), np.array([np.sqrt(0.5)])
    least = cells._least(strength, needed)
    assert least is not None
    assert least[0] == pytest.approx(0.8, rel=1e-6)
    assert least[1] == pytest.approx([0.72, 0.08], rel=1e-4)
    scene = Scene(one.pixels(), np.zeros(1, np.int64), np.zeros(1, np.bool_), np.ones(1, np.bool_), np.ones(1), 2)
    for reach, flipped in ((0.79, 0), (0.81, 1)):
        found = cells.worst(metric("pixel_accuracy", 2), scene, one, F(float(np.sqrt(reach))), F(0))
        assert found is not None
        assert (found.pixels, found.complete) == (flipped, True)
    # Two pixels that pull at the same node: neither pays for the other's.
    pair = np.array([[0.9, 0.1], [0.1, 0.9]])
    both = cells._least(pair, np.array([0.5, 0.5]))
    assert both is not None
    assert both[0] == pytest.approx(2 * 0.25, rel=1e-6)
    assert cells._affordable(np.arange(2), pair, np.array([0.9, 0.9]), np.ones(2)) is not None


@pytest.mark.parametrize("text", ["pooled iou[c1]", "pooled precision[c1]", "pooled mean_iou", "pooled m[c1]"])
@pytest.mark.parametrize("seed", range(4))
def test_several_images_together(text: str, seed: int) -> None:
    """Never worse than the bound allows, and no better than what real changes leave at the same worth of flips."""
    problems = [Problem(seed + 3 * i) for i in range(3)]
    asked = metric(text, 2, DEFINED, single=problems[0].single)
    sign = -1 if asked.lower_is_better else 1
    read = [scene_of(it) for it in problems]
    scenes, nodes = [scene for scene, _ in read], [n for _, n in read]
    budgets = [F(1, 8), F(3, 8), F(5, 8), F(9, 8)]
    pool = _pooled(asked, problems, constant(FAR, F(1)), max(budgets))
    worse = 0
    for eps, certified in zip(budgets, pool.worst_case(budgets), strict=True):
        found = cells.worst_together(asked, scenes, nodes, eps)
        assert certified is not None
        assert found is not None
        assert found.complete
        assert sign * certified <= sign * found.value
        real = _worst_of_all(asked.each(2), problems, eps * (1 - F(1, 10**5)))
        # Two rounds of prices find what real changes do, or worse, but where the first prices mislead.
        worse += sign * found.value <= sign * real
    assert worse >= 3


def test_pooled_claims_that_are_too_good_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    noticed = compared = 0
    genuine = crosscheck_cells._pooled_bound

    def more(case: Case, *rest: Any) -> Any:
        found = genuine(case, *rest)
        if rest[1].coarse is None or not isinstance(found, F):
            return found
        return found + F(1, 5) if isinstance(case.prop.query, WorstCaseQuery) else 3 * found

    worst, far = compiled("pixel_accuracy", 2).properties
    for seed, text in itertools.product(range(8), ("pooled iou[c1]", "pooled dice[c0]")):
        problems = [Problem(seed + 3 * i) for i in range(3)]
        nodes = [scene_of(it)[1] for it in problems]
        batches = [it.context() for it in problems]
        asked = metric(text, 2, single=problems[0].single)
        together = tuple(pieces(it.context())[0] for it in problems)
        assert isinstance(worst.query, WorstCaseQuery)
        assert isinstance(far.query, RadiusQuery)
        half = Degraded(asked, Threshold(F(0), F(1, 2)), False)
        for prop in (
            replace(worst, query=replace(worst.query, metric=asked, budgets=(F(1, 2),))),
            replace(far, query=replace(far.query, objectives=(half,), points=())),
        ):
            case = replace(asked_of(problems[0], prop), kind=Kind.POOLED, pieces=together)
            for _, comparison in together_by_cells(case, batches, nodes):
                assert comparison.agreed
                compared += 1
            with monkeypatch.context() as patch:
                patch.setattr(crosscheck_cells, "_pooled_bound", more)
                for _, comparison in together_by_cells(case, batches, nodes):
                    noticed += comparison.agreed is False
                    assert (comparison.agreed is False) == comparison.note.startswith("the bound")
    assert compared >= 4
    assert noticed >= 8


def test_more_pixels_than_a_program_holds_are_a_weaker_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "MOST", 2)
    it = Problem(1)
    scene, nodes = scene_of(it)
    found = cells.worst(metric("pixel_accuracy", 2), scene, nodes, F(3), F(0))
    assert found is not None
    assert not found.complete
    assert found.pixels <= 2

"""The integer program over energies of nodes: no better than real changes, no worse than the bound; it notices."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from robspec.bounds import open_bound
from robspec.ir.types import Property, WorstCaseQuery
from robspec.oracle import cells
from robspec.oracle.compare import Subject
from robspec.oracle.scene import Scene
from robspec.verify.case import Case, Kind
from robspec.verify.crosscheck_cells import by_cells, nodes_of
from robspec.verify.evaluate import BatchEvaluator
from robspec.verify.piece import pieces
from tests.bounds.language import metric
from tests.bounds.test_cell_ratios import FAR, Problem, constant, value
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


def test_more_pixels_than_a_program_holds_are_a_weaker_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "MOST", 2)
    it = Problem(1)
    scene, nodes = scene_of(it)
    found = cells.worst(metric("pixel_accuracy", 2), scene, nodes, F(3), F(0))
    assert found is not None
    assert not found.complete
    assert found.pixels <= 2

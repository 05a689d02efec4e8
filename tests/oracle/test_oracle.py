"""The oracle against enumeration, and every family's bound against the oracle, on tiny random images."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from robspec.bounds import open_bound
from robspec.bounds.context import Context
from robspec.ir.types import Degraded, Metric
from robspec.kernels.knapsack import backends
from robspec.oracle import compare, costs, linear, optimum, pooled, solver
from robspec.oracle.compare import Subject
from robspec.oracle.moves import reach_for
from robspec.oracle.scene import Scene, value
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L1, L2, LINF
from robspec.semantics.objective import Threshold
from tests.bounds.language import metric
from tests.bounds.test_metrics import CASES, Case
from tests.kernels.test_one_class import distance_by_active_sets

CPU = backends()["cpu"]
F = Fraction
K = 3
NORMS = {1: L1, 2: L2, None: LINF}
SUBJECT = Subject("image", "property", "crop")


def scene_of(rng: np.random.Generator, pixels: int, q: int | None) -> Scene:
    ties = rng.random() < 0.3
    z = rng.integers(0, 3, (pixels, K)) if ties else rng.normal(size=(pixels, K))
    labels = rng.integers(0, K, pixels)
    ignored = rng.random(pixels) < 0.1
    labels[ignored] = 255
    rest = np.ones(pixels, np.bool_), np.ones(pixels)
    return Scene(z.astype(np.float32).astype(np.float64), labels, ignored, *rest, q)


def context(scene: Scene) -> Context:
    logits = torch.from_numpy(scene.logits.T.copy()).float().reshape(1, K, 1, -1)
    return Context(CPU, logits, torch.from_numpy(scene.labels).reshape(1, 1, -1), 255)


def constant(q: int | None) -> Constant:
    return Constant(F(3, 2), NORMS[q], NORMS[q], ConstantStatus.PROVED)


def enumerated(asked: Metric, scene: Scene, reach: Fraction) -> Fraction | None:
    """The worst value over every assignment of classes the budget pays for."""
    table = [[costs.exact(z, k, scene.q) for k in range(K)] for z in scene.logits.tolist()]
    values = []
    for found in itertools.product(range(K), repeat=len(scene)):
        spent = [table[w][k] for w, k in enumerate(found)]
        if (max(spent) <= reach) if scene.q is None else (sum(spent) <= reach**scene.q):
            values.append(value(asked, scene, np.array(found)))
    known = [v for v in values if v is not None]
    if len(known) < len(values):
        return None
    return max(known) if asked.lower_is_better else min(known)


@pytest.mark.parametrize("q", [1, 2, None])
def test_three_ways_to_price_a_flip_agree(q: int | None) -> None:
    rng = np.random.default_rng(1)
    scene = scene_of(rng, 40, q)
    targets = rng.integers(0, K, 40)
    table = costs.table(scene)
    solved = costs.conic(scene, targets)
    for w, k in enumerate(targets.tolist()):
        exact = costs.exact(scene.logits[w].tolist(), k, q)
        assert table[w, k] == pytest.approx(float(exact), rel=1e-12)
        assert solved[w] == pytest.approx(float(exact), rel=1e-6, abs=1e-9)
        if q == 2:
            z = [F(v) for v in scene.logits[w].tolist()]
            assert exact == distance_by_active_sets(z[k], [v for j, v in enumerate(z) if j != k])


@pytest.mark.parametrize("q", [1, 2, None])
def test_a_single_logit_is_priced_by_its_distance_to_zero(q: int | None) -> None:
    z = np.array([[0.5], [-2.0], [0.0]])
    scene = Scene(z, np.zeros(3, np.int64), np.zeros(3, np.bool_), np.ones(3, np.bool_), np.ones(3), q)
    targets = 1 - scene.predicted
    expected = [0.5, 2.0, 0.0] if q != 2 else [0.25, 4.0, 0.0]
    assert costs.conic(scene, targets) == pytest.approx(expected, abs=1e-9)
    assert [float(costs.exact(p, k, q)) for p, k in zip(z.tolist(), targets.tolist(), strict=True)] == expected
    assert costs.table(scene)[np.arange(3), targets].tolist() == expected


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.text)
def test_programs_find_the_enumerated_optimum_and_bounds_agree(case: Case) -> None:
    rng = np.random.default_rng(len(case.text))
    asked = metric(case.text, K, case.definitions)
    defined = 0
    for q, thorough in itertools.product((2, 1, None), (True, False)):
        scene = scene_of(rng, 5, q)
        reach = reach_for(scene, 0.4)
        truth = enumerated(asked, scene, reach)
        bound = open_bound(asked, context(scene), constant(q))
        eps = reach / F(3, 2)
        certified = bound.worst_case([eps])[0][0]
        got = compare.worst_case(SUBJECT, asked, scene, reach, "e", certified, thorough=thorough)
        assert got.agreed, got
        if truth is None:
            continue
        defined += 1
        solved = optimum.solve(asked, scene, reach, thorough=thorough)
        assert solved is not None
        sign = -1 if asked.lower_is_better else 1
        assert solved.value == truth if thorough or solved.complete else sign * solved.value >= sign * truth
        gamma = solved.value
        found = bound.radius([(gamma,)], strict=False)[0][0]
        objective = Degraded(asked, Threshold(gamma), strict=False)
        got = compare.radius(SUBJECT, objective, scene, F(3, 2), found, thorough=thorough)
        assert got.agreed, got
    assert defined


@pytest.mark.parametrize("thorough", [True, False])
@pytest.mark.parametrize("text", [c.text for c in CASES if c.exact and not c.definitions])
def test_a_wrong_bound_is_noticed_on_either_side(text: str, thorough: bool) -> None:
    """A bound one step better than the optimum is unsound; one step worse is looser than it claims."""
    rng = np.random.default_rng(7)
    asked = metric(text, K)
    sign = -1 if asked.lower_is_better else 1
    for _ in range(4):
        scene = scene_of(rng, 8, 2)
        reach = reach_for(scene, 0.4)
        solved = optimum.solve(asked, scene, reach, thorough=thorough)
        if solved is None or value(asked, scene, scene.predicted) is None:
            continue
        better = compare.worst_case(
            SUBJECT, asked, scene, reach, "e", solved.value + sign * F(1, 10**9), thorough=thorough
        )
        assert better.agreed is False
        assert "UNSOUND" in better.note
        worse = compare.worst_case(
            SUBJECT, asked, scene, reach, "e", solved.value - sign * F(1, 100), thorough=thorough
        )
        assert worse.agreed is False
        assert "looser" in worse.note


def test_a_wrong_radius_is_noticed_on_either_side() -> None:
    scene = scene_of(np.random.default_rng(3), 8, 2)
    asked = metric("pixel_accuracy", K)
    objective = Degraded(asked, Threshold(F(0)), strict=False)
    right = open_bound(asked, context(scene), constant(2)).radius([(F(0),)], strict=False)[0][0]
    assert right is not None
    for factor, agreed, word in (
        (F(1), True, ""),
        (F(1001, 1000), False, "UNSOUND"),
        (F(999, 1000), False, "looser"),
    ):
        got = compare.radius(SUBJECT, objective, scene, F(3, 2), F(right) * factor, thorough=False)
        assert got.agreed is agreed, factor
        assert word in got.note
    assert compare.radius(SUBJECT, objective, scene, F(3, 2), math.inf, thorough=True).agreed is False


@pytest.mark.parametrize("text", ["pixel_accuracy", "recall[c1]", "mean_accuracy"])
def test_the_linear_relaxation_agrees_and_can_disagree(text: str) -> None:
    rng = np.random.default_rng(5)
    asked = metric(text, K)
    scene = scene_of(rng, 30, 2)
    reach = reach_for(scene, 0.3)
    certified = open_bound(asked, context(scene), constant(2)).worst_case([reach / F(3, 2)])[0][0]
    assert certified is not None
    assert compare.relaxation(SUBJECT, asked, scene, reach, "e", certified).agreed
    for wrong in (certified + F(1, 8), certified - F(1, 8)):
        assert compare.relaxation(SUBJECT, asked, scene, reach, "e", wrong).agreed is False


def test_overcharged_flips_are_noticed() -> None:
    scene = scene_of(np.random.default_rng(2), 6, 2)
    targets = np.array([int(np.argsort(z)[-2]) for z in scene.logits])
    true = [costs.exact(z, k, 2) for z, k in zip(scene.logits.tolist(), targets.tolist(), strict=True)]
    radii = [F(math.nextafter(math.sqrt(float(c)), 0)) for c in true]
    assert compare.flip_costs(SUBJECT, scene, targets, F(1), list(radii)).agreed
    assert compare.flip_costs(SUBJECT, scene, targets, F(1), [r * F(101, 100) for r in radii]).agreed is False
    assert compare.flip_costs(SUBJECT, scene, targets, F(1), [r * F(99, 100) for r in radii]).agreed is False


def test_the_oracle_is_not_built_on_what_it_checks() -> None:
    """Importing it imports neither kernels nor bounds."""
    import subprocess
    import sys

    code = (
        "import sys, robspec.oracle.compare, robspec.oracle.pooled\n"
        "bad = [m for m in sys.modules if m.startswith(('robspec.kernels', 'robspec.bounds', 'numba', 'torch'))]\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


SEEN = ["weighted pixel_accuracy", "weighted recall[c1]", "iou[c1] in region", "stability", "weighted stability"]
SEEN += ["weighted fnr[c0]", "weighted specificity[c1]", "weighted fpr[c2] in region", "weighted recall[c0, c2]"]
SEEN += ["share(2)[c1]", "weighted share(3)[c0]"]
SHARE = "metric share(w, k) = w * TP[k] / (2 * N)"


@pytest.mark.parametrize("text", SEEN)
@pytest.mark.parametrize("thorough", [True, False])
def test_weights_and_regions_are_seen_as_the_bounds_see_them(text: str, thorough: bool) -> None:
    rng = np.random.default_rng(13)
    asked = metric(text, K, SHARE if "share" in text else "")
    for _ in range(3):
        scene = scene_of(rng, 10, 2)
        region, weights = rng.random(10) < 0.7, rng.choice([0.0, 0.5, 1.25, 3.0], 10)
        scene = Scene(scene.logits, scene.labels, scene.ignored, region, weights, 2)
        logits = torch.from_numpy(scene.logits.T.copy()).float().reshape(1, K, 1, -1)
        shaped = [torch.from_numpy(a).reshape(1, 1, -1) for a in (scene.labels, region, weights)]
        bound = open_bound(asked, Context(CPU, logits, shaped[0], 255, shaped[1], shaped[2]), constant(2))
        assert bound.clean() == [value(asked, scene, scene.predicted)]
        reach = reach_for(scene, 0.4)
        certified = bound.worst_case([reach / F(3, 2)])[0][0]
        got = compare.worst_case(SUBJECT, asked, scene, reach, "e", certified, thorough=thorough)
        assert got.agreed, got


@pytest.mark.parametrize("text", ["pixel_accuracy", "iou[c1]", "mean_iou", "recall[c0]"])
def test_a_single_logit_head_has_two_classes(text: str) -> None:
    rng = np.random.default_rng(17)
    asked = metric(text, 2, single=True)
    for q, thorough in itertools.product((1, 2, None), (True, False)):
        z = rng.normal(size=(9, 1)).astype(np.float32).astype(np.float64)
        labels = rng.integers(0, 2, 9)
        labels[:2] = 0, 1
        scene = Scene(z, labels, np.zeros(9, np.bool_), np.ones(9, np.bool_), np.ones(9), q)
        logits = torch.from_numpy(z.T.copy()).float().reshape(1, 1, 1, -1)
        bound = open_bound(asked, Context(CPU, logits, torch.from_numpy(labels).reshape(1, 1, -1), 255), constant(q))
        reach = reach_for(scene, 0.4)
        certified = bound.worst_case([reach / F(3, 2)])[0][0]
        got = compare.worst_case(SUBJECT, asked, scene, reach, "e", certified, thorough=thorough)
        assert got.agreed, got


def test_a_pooled_question_nobody_solved_is_not_agreed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With no answer from the solver a bound far too good must not count as confirmed."""
    scenes = [scene_of(np.random.default_rng(seed), 6, 2) for seed in (1, 2)]
    asked = metric("pooled iou[c0]", K)
    clean = pooled.clean_value(asked, scenes)
    assert clean is not None
    objective = Degraded(asked, Threshold(clean / 2), strict=False)
    ask_value = (SUBJECT, asked, scenes, F(3), "2", clean)
    ask_radius = (SUBJECT, objective, scenes, F(1), F(100))
    assert pooled.worst_case(*ask_value).agreed is False
    assert pooled.radius(*ask_radius).agreed is False
    monkeypatch.setattr(solver, "integer", lambda *_: None)
    for found in (pooled.worst_case(*ask_value), pooled.radius(*ask_radius)):
        assert found.agreed is None
        assert found.optimum == "not solved"


@pytest.mark.parametrize("text", ["weighted pixel_accuracy", "weighted recall[c1]", "weighted fpr[c0]"])
@pytest.mark.parametrize("exponent", [-1074, 1021])
def test_harm_does_not_depend_on_the_size_of_the_weights(text: str, exponent: int) -> None:
    asked, rng = metric(text, K), np.random.default_rng(1)
    scene = replace(scene_of(rng, 12, 2), weights=rng.integers(1, 4, 12).astype(np.float64))
    scene.weights[scene.ignored] = 0.0
    scaled = replace(scene, weights=np.where(scene.ignored, 1.0, np.ldexp(scene.weights, exponent)))
    found = linear.harm(asked, scaled)
    assert np.array_equal(found, linear.harm(asked, scene))
    assert found.any()


def test_a_pooled_precision_of_one_that_loses_every_true_positive_is_the_worst() -> None:
    """At the price 1 a lost true positive gains nothing, but without any left the precision counts as 0."""
    asked = metric("pooled precision[c1]", K)
    z = np.array([[0.0, 1.0, -5.0], [5.0, 0.0, -5.0]])
    here = np.ones(2, np.bool_)
    scene = Scene(z, np.array([1, 0]), ~here, here, np.ones(2), 2)
    for reach, worst in ((F(1, 2), F(1)), (F(1), F(0))):
        found = pooled.worst_case(SUBJECT, asked, [scene], reach, "eps", worst)
        assert found.agreed is True, found.note
        assert pooled.worst_case(SUBJECT, asked, [scene], reach, "eps", 1 - worst).agreed is False


@pytest.mark.parametrize("q", [1, 2, None])
@pytest.mark.parametrize("thorough", [True, False])
def test_a_precision_of_one_that_loses_every_true_positive_is_the_worst(thorough: bool, q: int | None) -> None:
    """Where nothing can be found wrongly the value is 1 until it has no denominator: no price leads there."""
    rng = np.random.default_rng(5)
    z = rng.normal(size=(4, K)).astype(np.float32).astype(np.float64)
    scene = Scene(z, z.argmax(1), np.zeros(4, np.bool_), np.ones(4, np.bool_), np.ones(4), q)
    asked = metric(f"precision[c{z.argmax(1)[0]}]", K)
    scene = replace(scene, ignored=scene.labels != scene.labels[0], labels=np.full(4, scene.labels[0]))
    marked = replace(scene, labels=np.where(scene.ignored, 255, scene.labels))
    bound = open_bound(asked, context(marked), constant(q))
    assert bound.clean() == [1]
    found = bound.radius([(F(9, 10),)], strict=False)[0][0]
    objective = Degraded(asked, Threshold(F(9, 10)), strict=False)
    got = compare.radius(SUBJECT, objective, marked, F(3, 2), found, thorough=thorough)
    assert got.agreed, got
    assert isinstance(found, Fraction)
    for wrong, word in ((found * F(11, 10), "UNSOUND"), (found * F(9, 10), "looser")):
        got = compare.radius(SUBJECT, objective, marked, F(3, 2), wrong, thorough=thorough)
        assert not got.agreed
        assert word in got.note


def test_a_weighted_rate_past_several_classes_is_bounded_by_its_relaxation() -> None:
    """Priced by the nearest class alone it may say less than the relaxation, and never more."""
    less = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        drawn = scene_of(rng, 12, 2)
        labels = np.where(drawn.ignored, 255, drawn.predicted)
        scene = replace(drawn, labels=labels, weights=rng.integers(1, 5, 12) / 4)
        asked = metric("weighted specificity[c1]", K)
        reach = 2 * reach_for(scene, 0.5)
        seen = context(scene)
        weights = torch.from_numpy(scene.weights).reshape(1, 1, -1)
        seen = Context(CPU, seen.logits, seen.labels, 255, None, weights)
        bound = open_bound(asked, seen, constant(2)).worst_case([reach / F(3, 2)])[0][0]
        assert isinstance(bound, Fraction)
        got = compare.relaxation(SUBJECT, asked, scene, reach, "e", bound)
        assert got.agreed, got
        less += float(bound) < float(got.optimum) - 1e-3
        assert not compare.relaxation(SUBJECT, asked, scene, reach, "e", F(got.optimum) + F(1, 1000)).agreed
    assert less

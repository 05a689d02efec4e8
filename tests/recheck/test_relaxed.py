"""Relaxed families in exact arithmetic: against enumeration, and against what the bounds certify."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from robspec.bounds import macro, open_bound
from robspec.bounds.context import Context
from robspec.ir.types import Degraded, Metric
from robspec.oracle.moves import reach_for
from robspec.oracle.scene import Scene
from robspec.recheck.averages import MOST_SPENDS, AverageBook, Bounded, Relaxation
from robspec.recheck.weighted import WeightedBook
from robspec.semantics.norm import exact_text
from robspec.semantics.objective import Threshold
from tests.bounds.language import metric
from tests.kernels.available import CPU
from tests.oracle.test_oracle import K, constant, context, enumerated, scene_of

F = Fraction
MIXED = "metric mixed(a, b) = 0.25 * (TP[a] / (TP[a] + FP[a] + FN[a])) + 0.75 * (TP[b] / (TP[b] + FN[b]))"
AVERAGES = ["mean_iou", "mean_dice", "frequency_weighted_iou", "mean_iou[c0, c2]"]
WEIGHTED = ["weighted pixel_accuracy", "weighted stability", "weighted recall[c1]", "weighted fnr[c0]"]
WEIGHTED += ["weighted specificity[c1]", "weighted fpr[c2]", "weighted recall[c0, c2]", "mean_accuracy"]


def weigh(rng: np.random.Generator, scene: Scene) -> Scene:
    weights = rng.choice([0.0, 0.1, 1.0, 2.5], len(scene))
    return replace(scene, weights=weights, region=rng.random(len(scene)) < 0.8)


def opened(scene: Scene, asked: Metric) -> Any:
    plain = context(scene)
    weight = torch.from_numpy(scene.weights).reshape(1, 1, -1) if asked.weighted else None
    region = torch.from_numpy(scene.region).reshape(1, 1, -1)
    return open_bound(asked, Context(CPU, plain.logits, plain.labels, 255, region, weight), constant(scene.q))


def relaxation(bound: Any, eps: Fraction) -> Relaxation:
    assert isinstance(bound, macro.Bound)
    found = bound.relaxation(0, eps)
    assert found is not None
    return Relaxation(found.price, found.unit, found.spends)


@pytest.mark.parametrize("q", [2, 1, None])
@pytest.mark.parametrize("text", WEIGHTED)
def test_weighted_bounds_lie_between_the_truth_and_the_relaxation(text: str, q: int | None) -> None:
    """The exact relaxation is never better than the worst assignment; a certified bound is never better than it."""
    asked = metric(text, K)
    rng = np.random.default_rng(len(text))
    derived = radii = 0
    for _ in range(6):
        scene = weigh(rng, scene_of(rng, 5, q))
        book, bound = WeightedBook(asked, scene), opened(scene, asked)
        assert bound.clean() == [book.clean]
        if book.clean is None:
            continue
        sign = -1 if asked.lower_is_better else 1
        for part in (0.0, 0.2, 0.5, 0.9):
            eps = F(float(reach_for(scene, part) / F(3, 2))) if part else F(0)
            truth = enumerated(asked, scene, eps * F(3, 2))
            exact = book.worst(book.budgets(eps, constant(q))[0])
            assert truth is not None
            assert sign * exact <= sign * truth
            certified = bound.worst_case([eps])[0][0]
            claim = book.point(eps, constant(q))["certified"]
            assert claim.holds(str(certified))
            assert sign * certified <= sign * exact
            for off in (F(1, 10**6), F(-1, 10**6)):
                assert not claim.holds(str(certified + off))
            derived += exact != book.clean
            gamma = (book.clean * 6 + certified * 11) / 17
            objective = Degraded(asked, Threshold(gamma), strict=False)
            radius = bound.radius([(gamma,)], strict=False)[0][0]
            claim = book.reach(objective, constant(q))["certified"]
            if radius in (0, math.inf):
                assert claim == str(radius) or claim.holds("0")
                continue
            radii += 1
            assert claim.holds(str(radius))
            assert not claim.holds(str(radius * F(10**4 + 1, 10**4)))
            assert not claim.holds(str(radius * F(10**4 - 1, 10**4)))
    assert derived
    assert radii


@pytest.mark.parametrize("q", [2, 1])
@pytest.mark.parametrize("text", [*AVERAGES, "mixed[c0, c1]", "mixed[c2, c0] in region"])
def test_averages_lie_between_the_truth_and_the_relaxation(text: str, q: int) -> None:
    """Whatever price and spends are written, the bound is never better than the worst assignment."""
    asked = metric(text, K, MIXED if "mixed" in text else "")
    rng = np.random.default_rng(len(text) + q)
    derived = 0
    for _ in range(6):
        scene = weigh(rng, scene_of(rng, 5, q))
        book, bound = AverageBook(asked, scene), opened(scene, asked)
        assert bound.clean() == [book.clean]
        if book.clean is None:
            continue
        for part in (0.2, 0.5, 0.9):
            eps = F(float(reach_for(scene, part) / F(3, 2)))
            if not eps:
                continue
            truth = enumerated(asked, scene, eps * F(3, 2))
            certified = bound.worst_case([eps])[0][0]
            by = relaxation(bound, eps)
            point = book.point(eps, constant(q))
            assert isinstance(point, Bounded)
            written = point.filled(certified, by)
            assert point.holds(written)
            assert truth is not None
            assert certified <= F(written["bound"]) <= truth
            derived += F(written["bound"]) != book.clean
            assert not point.holds({**written, "certified": str(certified + F(1, 10**6))})
            budget = book.budgets(eps, constant(q))[0]
            # Where a spend lies just below a cost, rounding leaves room for one flip.
            loose = book.bound(by, budget, True)[0]
            assert loose <= certified
            assert not point.holds({**written, "certified": str(loose - F(1, 10**6))})
            for _ in range(5):
                rows = tuple(
                    (0, *sorted(set(rng.integers(1, 2**30, rng.integers(0, 5)).tolist()))) for _ in by.spends
                )
                other = Relaxation(
                    by.price * F(int(rng.integers(0, 30)), 10), by.unit * int(rng.integers(1, 99)), rows
                )
                assert book.bound(other, budget, False)[0] <= truth
    assert derived


@pytest.mark.parametrize("text", AVERAGES)
def test_averages_share_nothing_under_linf(text: str) -> None:
    asked = metric(text, K)
    rng = np.random.default_rng(3)
    for _ in range(5):
        scene = scene_of(rng, 5, None)
        book, bound = AverageBook(asked, scene), opened(scene, asked)
        eps = F(float(reach_for(scene, 0.5) / F(3, 2)))
        certified, point = bound.worst_case([eps])[0][0], book.point(eps, constant(None))
        if certified is None:
            assert point["certified"] is None  # type: ignore[index]
            continue
        truth = enumerated(asked, scene, eps * F(3, 2))
        assert truth is not None
        assert certified <= truth
        assert point["certified"].holds(str(certified))  # type: ignore[index]


@pytest.mark.parametrize("q", [2, 1])
def test_a_radius_of_an_average_stands_on_its_price_and_spends(q: int) -> None:
    asked = metric("mean_iou", K)
    rng = np.random.default_rng(q)
    seen = 0
    for _ in range(8):
        scene = scene_of(rng, 6, q)
        book, bound = AverageBook(asked, scene), opened(scene, asked)
        if book.clean is None:
            continue
        gamma = book.clean * F(1, 2)
        objective = Degraded(asked, Threshold(gamma), strict=False)
        radius = bound.radius([(gamma,)], strict=False)[0][0]
        point = book.reach(objective, constant(q))
        if radius in (0, math.inf):
            # A radius of 0 although the clean value does not meet the objective claims nothing.
            assert point == {"certified": str(radius)} or point.holds({"certified": "0"})  # type: ignore[union-attr]
            continue
        seen += 1
        assert isinstance(point, Bounded)
        written = point.filled(radius, relaxation(bound, radius))
        assert point.holds(written)
        far = relaxation(bound, radius * 4)
        assert not point.holds(point.filled(radius * 4, far))
        for name, value in (("certified", str(radius * 2)), ("bound", "1"), ("values", "0" * 64), ("price", "1/3")):
            assert not point.holds({**written, name: value})
        moved = copy.deepcopy(written)
        moved["spends"][0][-1] += 1
        assert not point.holds(moved)
    assert seen > 2


@pytest.mark.parametrize(
    "change",
    [
        {"price": "-1"},
        {"price": "inf"},
        {"price": 1},
        {"unit": "0"},
        {"unit": "-1/2"},
        {"spends": []},
        {"spends": [[0]]},
        {"spends": [[0], [], [0]]},
        {"spends": [[1], [0], [0]]},
        {"spends": [[0, 5, 5], [0], [0]]},
        {"spends": [[0, 5, 4], [0], [0]]},
        {"spends": [[0, True], [0], [0]]},
        {"spends": [[0, 2**63], [0], [0]]},
        {"spends": [[0, 1.5], [0], [0]]},
        {"spends": [[0, "1"], [0], [0]]},
        {"spends": [list(range(5000)), [0], [0]]},
        {"spends": "000"},
    ],
)
def test_what_is_no_relaxation_is_not_read(change: dict[str, Any]) -> None:
    good = {"price": "1/2", "unit": "1", "spends": [[0, 1], [0], [0, 3, 9]]}
    read = Relaxation.read(good, 3)
    assert read is not None
    assert read.written() == good
    assert Relaxation.read({**good, **change}, 3) is None


def test_numbers_of_many_digits_and_many_spends_are_only_rejected() -> None:
    """A certificate can write 4000 digits of a radius, whose square has more than Python writes down unasked."""
    asked, rng, tried = metric("mean_iou", K), np.random.default_rng(0), 0
    for _ in range(6):
        scene = scene_of(rng, 6, 2)
        book, bound = AverageBook(asked, scene), opened(scene, asked)
        if book.clean is None:
            continue
        gamma = book.clean / 2
        radius = bound.radius([(gamma,)], strict=False)[0][0]
        point = book.reach(Degraded(asked, Threshold(gamma), strict=False), constant(2))
        if not isinstance(point, Bounded) or not radius:
            continue
        written = point.filled(radius, relaxation(bound, radius))
        assert point.holds(written)
        tried += 1
        for much in (radius * (1 - F(1, 10**3900 + 7)), F(10**3900), F(1, 10**3900)):
            assert not point.holds({**written, "certified": str(much)})
        long = str(F(written["price"]) * (1 - F(1, 10**1900 + 7)))
        assert not point.holds({**written, "price": long, "unit": long})
        rows = [[0, *range(1, MOST_SPENDS)] for _ in book.parts]
        assert Relaxation.read({**written, "spends": rows}, len(rows)) is not None
        rows[0].append(MOST_SPENDS)
        assert Relaxation.read({**written, "spends": rows}, len(rows)) is None
        assert all(len(row) <= MOST_SPENDS // 2 + 8 for row in written["spends"])
    assert tried


def test_a_bound_of_more_digits_than_are_read_is_no_false_alarm() -> None:
    """An assumed constant of many digits is squared into the budget, and so into the bound."""
    scene, assumed = scene_of(np.random.default_rng(0), 6, 2), replace(constant(2), value=F(10**2100 + 7, 3**4401))
    book = AverageBook(metric("mean_iou", K), scene)
    point = book.point(F(1, 100), assumed)
    assert isinstance(point, Bounded)
    by = Relaxation(F(1, 2**30), F(1, 2**20), ((0, 10),) * len(book.parts))
    exact, _ = book.bound(by, book.budgets(F(1, 100), assumed)[0], loose=False)
    assert len(exact_text(exact)) > 2 * 4000
    found = F(math.nextafter(float(exact), 0.0))
    written = point.filled(found, by)
    assert point.holds(written)
    assert not point.holds({**written, "certified": exact_text(found + F(1, 2**40))})
    assert not point.holds({**written, "bound": exact_text(exact + F(1, 2**40))})


def tiny(margin: float) -> tuple[Scene, Context]:
    """Two pixels that margins whose squares are no doubles keep right."""
    z = np.array([[margin, 0.0, -1.0], [0.0, margin, -1.0]])
    here = np.ones(2, np.bool_)
    scene = Scene(z, np.array([0, 1]), ~here, here, np.ones(2), 2)
    return scene, Context(CPU, torch.from_numpy(z.T.copy()).reshape(1, 3, 1, 2), torch.tensor([[[0, 1]]]), 255)


@pytest.mark.parametrize("text", AVERAGES)
def test_squares_that_vanish_are_no_false_alarm_without_a_budget(text: str) -> None:
    asked, (scene, plain) = metric(text, K), tiny(1e-180)
    certified = open_bound(asked, plain, constant(2)).worst_case([F(0)])[0][0]
    book = AverageBook(asked, scene)
    assert book.clean == book.worst(F(0)) == 1
    claim = book.point(F(0), constant(2))["certified"]  # type: ignore[index]
    assert certified < 1
    assert claim.holds(str(certified))
    assert claim.holds("1")
    assert not claim.holds("2")


def test_a_radius_beyond_all_doubles_is_no_false_alarm() -> None:
    asked, (scene, plain) = metric("weighted stability", K), tiny(1.0)
    plain.weights = torch.ones(1, 1, 2, dtype=torch.float64)
    small = replace(constant(2), value=F(1, 10**320))
    found = open_bound(asked, plain, small).radius([(F(1, 2),)], strict=False)[0][0]
    claim = WeightedBook(asked, scene).reach(Degraded(asked, Threshold(F(1, 2)), strict=False), small)["certified"]
    assert found == np.finfo(np.float64).max
    assert claim.holds(str(F(found)))
    assert not claim.holds(str(F(found) / 2))
    assert not claim.holds(str(F(10**330)))


@pytest.mark.parametrize("text", ["mean_iou", "mean_accuracy"])
@pytest.mark.parametrize("size", [1e-170, 1.0])
def test_a_network_of_constant_zero_raises_no_alarm(text: str, size: float) -> None:
    """Squares of margins of 1e-170 round to 0, so that the check claims a radius of 0 where it is infinite."""
    asked = metric(text, K)
    z = size * np.array([[2.0, 0, 0], [0, 1.0, 0], [0, 0, 4.0]])
    rest = np.zeros(3, np.bool_), np.ones(3, np.bool_), np.ones(3)
    scene = Scene(z, np.array([0, 1, 2]), *rest, 2)
    seen = Context(CPU, torch.from_numpy(z.T.copy()).reshape(1, K, 1, 3), torch.tensor([[[0, 1, 2]]]), 255)
    still = replace(constant(2), value=F(0))
    found = open_bound(asked, seen, still).radius([(F(1, 2),)], strict=False)[0][0]
    book = AverageBook(asked, scene) if text == "mean_iou" else WeightedBook(asked, scene)
    point = book.reach(Degraded(asked, Threshold(F(1, 2)), strict=False), still)
    assert isinstance(point, dict)
    claim = point["certified"]
    assert claim.holds(str(found))
    assert not claim.holds("1")
    assert found == (0 if size < 1 and text == "mean_iou" else math.inf)

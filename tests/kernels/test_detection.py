"""DETECTION.md D1 to D3, trap by trap: each scene is one that a simpler bound gets wrong."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch

from robspec.bounds._objects import added, lost
from robspec.kernels.detection import Ledger, Objects, Pipeline, Reach, Threshold, cpu, places, reference
from robspec.kernels.detection.overlap import (
    Boxes,
    exact_sign,
    perhaps_more,
    sign,
    surely_at_least,
    surely_less,
    surely_more,
)
from robspec.oracle import detections as oracle

F = Fraction
HALF, ZERO = F(1, 2), F(0)
GOOD = (0.0, 0.0, 10.0, 10.0)


def objects(*boxes: tuple[float, ...], crowd: tuple[int, ...] = (), ignored: tuple[int, ...] = ()) -> Objects:
    n = len(boxes)
    return Objects(
        np.array(boxes, dtype=np.float64).reshape(-1, 4),
        np.zeros(n, np.int64),
        np.isin(np.arange(n), crowd),
        np.isin(np.arange(n), ignored),
    )


def read(
    scores: list[float],
    boxes: list[tuple[float, ...]],
    annotated: Objects,
    eps: Fraction,
    *,
    nms: Fraction | None = HALF,
    o: Fraction = HALF,
    margin: Fraction = ZERO,
    rho: Fraction = ZERO,
    norm: int | None = 2,
    threshold: Threshold | None = None,
) -> Ledger:
    """What is certain, equal in arrays and by definition."""
    at = Threshold(0.0, 0.0) if threshold is None else threshold
    reach = Reach.of(eps, F(1), None if norm is None else F(norm), max(len(scores), 1), rho)
    given = (np.array(scores), np.array(boxes, dtype=np.float64).reshape(-1, 4), annotated, 0)
    line = Pipeline(at, nms, o, margin)
    found = cpu.read(*given, line, reach)
    assert found == reference.read(*given, line, reach)
    return found


def kept(ledger: Ledger) -> int:
    return ledger.found - lost(ledger)


def test_a_witness_is_worth_the_square_of_its_distance_without_a_half() -> None:
    assert kept(read([3.0], [GOOD], objects(GOOD), F("2.999"))) == 1
    assert kept(read([3.0], [GOOD], objects(GOOD), F(3))) == 0  # on the threshold counts as lost
    both = read([3.0, 4.0], [GOOD, GOOD], objects(GOOD), F("4.999"))
    assert kept(both) == 1  # 9 + 16 is a square of 5
    assert kept(read([3.0, 4.0], [GOOD, GOOD], objects(GOOD), F(5))) == 0
    # In l_inf each score moves for itself, in l_1 distances add up.
    assert kept(read([3.0, 4.0], [GOOD, GOOD], objects(GOOD), F("3.999"), norm=None)) == 1
    assert kept(read([3.0, 4.0], [GOOD, GOOD], objects(GOOD), F(4), norm=None)) == 0
    assert kept(read([3.0, 4.0], [GOOD, GOOD], objects(GOOD), F("6.999"), norm=1)) == 1
    assert kept(read([3.0, 4.0], [GOOD, GOOD], objects(GOOD), F(7), norm=1)) == 0


def test_a_badly_placed_box_with_a_higher_score_suppresses_the_good_one() -> None:
    # Overlap with the object 4/10; with the good box 4/10 too.
    bad = (6.0, 0.0, 10.0, 10.0)
    args = ([2.0, 3.0], [GOOD, bad], objects(GOOD))
    assert read(*args, ZERO, nms=F(3, 10)).found == 0
    assert read(*args, ZERO, nms=F(4, 10)).found == 1  # by no more than the overlap allowed: it stays
    # Lower than the good one it has to come past it: half the difference each, 1/2 + 1/2 in squares.
    later = ([3.0, 2.0], [GOOD, bad], objects(GOOD))
    assert read(*later, F("0.7"), nms=F(3, 10)).found == 1
    assert read(*later, F("0.71"), nms=F(3, 10)).found == 0


def test_equal_scores_come_in_either_order() -> None:
    bad = (6.0, 0.0, 10.0, 10.0)
    assert read([2.0, 2.0], [GOOD, bad], objects(GOOD), ZERO, nms=F(3, 10)).found == 0


def test_a_box_that_two_objects_share_is_no_witness() -> None:
    # Overlaps both by 1/2 and more.
    pair = objects((0.0, 0.0, 10.0, 10.0), (0.0, 2.0, 10.0, 12.0))
    shared = (0.0, 1.0, 10.0, 11.0)
    assert read([5.0], [shared], pair, ZERO).found == 0
    assert read([5.0], [shared], pair, ZERO).kept == 1
    own = read([5.0, 4.0], [shared, (0.0, 0.0, 10.0, 10.0)], pair, ZERO, o=F(9, 10))
    assert own.found == 0  # the shared one suppresses it, and is matched with nothing


@pytest.mark.parametrize("where", [HALF, F(7, 10)])
def test_an_overlap_exactly_at_a_threshold(where: Fraction) -> None:
    part = (0.0, 0.0, 10.0, float(10 * where))
    assert read([1.0], [part], objects(GOOD), ZERO, o=where).found == 1
    # A pipeline in float32 may see less: 7/10 is the example.
    assert read([1.0], [part], objects(GOOD), ZERO, o=where, margin=F(1, 2**20)).found == 0


def test_an_annotation_that_float32_moves_is_matched_in_either() -> None:
    """By more than the margin: the overlap is 0.69999 as annotated, and below 0.69998 as float32 has it."""
    g = (1443.4404188698031, 1478.725706498792, 1447.4745515463842, 1483.3403385770946)
    d = (1443.4404296875, 1478.7257080078125, 1446.2642822265625, 1483.34033203125)
    between, margin = F("0.6999857"), F(1, 2**20)
    assert exact_sign(list(d), list(g), between + margin) > 0
    assert exact_sign(list(d), [float(np.float32(c)) for c in g], between - margin) < 0
    unsure = read([5.0], [d], objects(g), F(1), o=between, margin=margin)
    assert not unsure.vanish
    assert len(read([5.0], [d], objects(g), F(1), o=F("0.6999"), margin=margin).vanish) == 1
    wide = (1440.0, 1475.0, 1450.1, 1490.0)
    both = objects(g, wide, crowd=(1,))
    # What may be the object is not excused by the crowd around it.
    assert read([5.0], [d], both, F(1), o=between, margin=margin).kept == 1


def test_boxes_without_area_and_inverted_ones_overlap_nothing() -> None:
    flat, turned = (0.0, 0.0, 10.0, 0.0), (10.0, 10.0, 0.0, 0.0)
    found = read([5.0, 6.0], [flat, turned], objects(GOOD), ZERO)
    assert (found.found, found.kept) == (0, 2)
    # Unclamped, the product of two negative sides would be an area of 100.
    assert exact_sign(list(turned), list(GOOD), F(1, 100)) == -1
    assert sign(np.array(turned), np.array(GOOD), F(1, 100)) == -1
    # An object without area is missed, whatever fires.
    assert read([5.0], [flat], objects(flat), ZERO).found == 0
    # One that can turn inside out on its way certifies nothing.
    thin = (0.0, 0.0, 10.0, 1.0)
    assert read([5.0], [thin], objects(thin), ZERO, rho=ZERO).found == 1
    assert read([5.0], [thin], objects(thin), F(1, 2), rho=F(1)).found == 0


def test_images_without_objects_and_objects_without_locations() -> None:
    assert read([1.0], [GOOD], objects(), ZERO) == Ledger(0, (), 1, (), 0)
    assert read([], [], objects(GOOD), F(1)).found == 0
    assert read([], [], objects(GOOD), F(1)).objects == 1


def test_ignored_objects_need_not_be_found_and_crowds_excuse_what_lies_in_them() -> None:
    assert read([1.0], [GOOD], objects(GOOD, ignored=(0,)), ZERO).objects == 0
    small = (1.0, 1.0, 3.0, 3.0)
    assert read([1.0], [small], objects(GOOD, crowd=(0,)), ZERO).kept == 0
    assert read([1.0], [small], objects(GOOD), ZERO).kept == 1
    # In a crowd, but also near an object: it may be matched, and then it counts.
    both = read([1.0], [small], objects(GOOD, small, crowd=(0,)), ZERO)
    assert (both.found, both.kept) == (1, 1)


def test_one_of_boxes_that_surely_overlap_is_kept_once() -> None:
    several = [GOOD, (0.0, 0.0, 10.0, 9.0), (0.0, 0.0, 9.0, 10.0)]
    assert read([3.0, 2.0, 1.0], several, objects(), ZERO).kept == 1
    assert read([3.0, 2.0, 1.0], several, objects(), ZERO, nms=None).kept == 3
    # Three that fire for one that would: the cheapest makes the group fire.
    group = read([-3.0, -2.0, -1.0], several, objects(), F(1))
    assert (group.kept, len(group.appear), added(group)) == (0, 1, 1)
    assert added(read([-3.0, -2.0, -1.0], several, objects(), F("0.999"))) == 0


def test_what_a_sure_box_suppresses_is_never_kept() -> None:
    # Two that do not overlap each other by more than 1/2, both under a third that fires whatever happens.
    left, right = (0.0, 0.0, 6.0, 10.0), (4.0, 0.0, 10.0, 10.0)
    assert read([9.0, 2.0, 2.0], [GOOD, left, right], objects(), F(1)).kept == 1
    assert read([1.5, 0.4, 0.3], [GOOD, left, right], objects(), F(2)).kept == 3 - 1


def test_saturated_sigmoids_do_not_tell_scores_apart() -> None:
    probability = Threshold.of_probability(HALF)
    bad = (6.0, 0.0, 10.0, 10.0)
    # In float32 the sigmoids of 20 and 18 are both 1: the lower one may come first.
    assert float(torch.sigmoid(torch.tensor(20.0))) == float(torch.sigmoid(torch.tensor(18.0)))
    args = {"nms": F(3, 10), "threshold": probability}
    assert read([20.0, 18.0], [GOOD, bad], objects(GOOD), ZERO, **args).found == 0  # type: ignore[arg-type]
    assert read([6.0, 4.0], [GOOD, bad], objects(GOOD), ZERO, **args).found == 1  # type: ignore[arg-type]
    # And no score is sure to reach a threshold beyond what float32 resolves.
    assert Threshold.of_probability(F("0.9999999")).high == np.inf


@pytest.mark.parametrize("tau", ["0.001", "0.05", "0.3", "0.5", "0.9", "0.999", "0.99999"])
def test_the_bracket_of_a_threshold_holds_what_float32_makes_of_it(tau: str) -> None:
    at = Threshold.of_probability(F(tau))
    middle = np.log(float(tau) / (1 - float(tau)))
    z = torch.tensor(middle, dtype=torch.float32) + torch.linspace(-0.05, 0.05, 20001)
    fires = torch.sigmoid(z) >= float(tau)
    assert not bool(fires[z.double() < at.low].any())
    assert bool(fires[z.double() >= at.high].all())
    rounded = torch.sigmoid(z.double()) >= float(tau)
    assert not bool(rounded[z.double() < at.low].any())


def test_the_slack_of_an_order_holds_what_float32_makes_of_it() -> None:
    at = Threshold.of_probability(F("0.05"))
    z = torch.linspace(-2.9, 19.0, 1501)
    p = torch.sigmoid(z)
    slack = torch.tensor([at.slack(x) for x in z.double().tolist()], dtype=torch.float64)
    # Wherever the lower of two is computed as no less, it lies within the slack of the higher one.
    wrong = (p[None, :] >= p[:, None]) & (z[None, :].double() < z[:, None].double() - slack[:, None])
    assert not bool(wrong.any())
    assert at.slack(2.0) < 1e-4 < 1.0 < at.slack(18.0)


def test_overlaps_of_boxes_that_move_are_those_of_their_corners() -> None:
    rng = np.random.default_rng(5)
    moves = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=4)))
    for _ in range(40):
        a, b = rng.integers(0, 9, (2, 4)).astype(np.float64)
        rho = 0.5
        pa, pb = a + rho * moves, b + rho * moves
        moving = [Boxes((x - rho)[None], (x + rho)[None]) for x in (a, b)]
        values = {oracle.overlap(oracle.box(p), oracle.box(b)) for p in pa.tolist()}
        for t in {F(1, 3), min(values), max(values)} - {ZERO}:
            assert bool(surely_at_least(moving[0], b[None], t)[0]) == (min(values) >= t)
            inside = np.minimum(np.maximum(b, a - rho), a + rho)
            top = oracle.overlap(oracle.box(inside.tolist()), oracle.box(b.tolist()))
            assert bool(surely_less(moving[0], b[None], t)[0]) == (top < t)
            assert max(values) <= top
            if bool(surely_more(*moving, t)[0]):
                assert (sign(pa[:, None], pb[None], t) > 0).all()
            if not bool(perhaps_more(*moving, t)[0]):
                assert (sign(pa[:, None], pb[None], t) <= 0).all()


def test_doubles_that_do_not_decide_are_left_to_rationals() -> None:
    # 0.1 is not a tenth: the overlap is a hair above or below 1/2.
    whole, part = (0.0, 0.0, 0.2, 1.0), (0.0, 0.0, 0.1, 1.0)
    assert sign(np.array([whole]), np.array([part]), HALF)[0] == exact_sign(list(whole), list(part), HALF)
    tiny = (0.0, 0.0, 1e-200, 1e-200)
    assert sign(np.array([tiny]), np.array([tiny]), F(1))[0] == 0
    huge = (0.0, 0.0, 1e200, 1e200)
    assert sign(np.array([huge]), np.array([huge]), F(1))[0] == 0
    assert sign(np.array([tiny]), np.array([huge]), F(1, 10))[0] == -1


def test_an_object_is_seen_where_enough_of_its_own_locations_fire() -> None:
    centres = np.array([[2.0, 2.0], [6.0, 2.0], [2.0, 6.0], [6.0, 6.0], [30.0, 30.0]])
    scores = np.array([3.0, 4.0, -1.0, 5.0, -2.0])
    at = Threshold(0.0, 0.0)

    def seen(eps: str, least: int, annotated: Objects) -> Ledger:
        return places.read(scores, centres, annotated, 0, at, least, Reach.of(F(eps), F(1), F(2), 5))

    alone = objects((0.0, 0.0, 8.0, 8.0))
    assert kept(seen("4.999", 2, alone)) == 1  # two of three have to fall: 9 + 16
    assert kept(seen("5", 2, alone)) == 0
    assert kept(seen("0", 4, alone)) == 0  # three fire
    assert added(seen("1.999", 1, alone)) == 0
    assert added(seen("2", 1, alone)) == 1
    # A location in two objects of the class is neither's; one on the edge is in none.
    assert seen("0", 1, objects((0.0, 0.0, 8.0, 8.0), (0.0, 0.0, 9.0, 9.0))).found == 0
    assert seen("0", 1, objects((2.0, 2.0, 5.0, 5.0))).found == 0

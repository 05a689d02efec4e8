"""What the rechecker derives of a detector, against what the kernels find and what a search brings about."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from robspec.bounds import _objects as ledgers
from robspec.bounds.mislabelled import ledger_of
from robspec.bounds.scene import Scene, certain, reach_of
from robspec.ir.types import Detector
from robspec.kernels.detection import Objects, Threshold, cpu
from robspec.recheck.bracket import Bracket
from robspec.recheck.certain import Account, ByOverlap, account
from robspec.recheck.located import Attack, Located
from robspec.recheck.mistaken import mistakes
from robspec.recheck.overlaps import Moving, always, ever
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L1, L2, LINF
from tests.examples import examples
from tests.property import random_scenes
from tests.tasks.test_detection import metric

F = Fraction
NORMS = {F(2): L2, F(1): L1, None: LINF}


def drawn(seed: int) -> tuple[Scene, Detector, Constant, Fraction]:
    """A random scene: on a grid, where everything ties; or with scores and boxes of many digits and a sigmoid."""
    made = random_scenes.draw(seed)
    rng = np.random.default_rng(seed)
    scores = np.array(made.scores, dtype=np.float64).reshape(len(made.scores), len(made.boxes)) / 4
    boxes = np.array(made.boxes, dtype=np.float64).reshape(-1, 4)
    objects = random_scenes.annotation(made)
    constant = Constant(F(1), L2, NORMS[made.norm], ConstantStatus.PROVED, boxes=F(0))
    detector = Detector("score", F(random_scenes.THETA), made.nms, "overlap", made.overlap, 1, "frozen")
    eps = made.eps
    if made.rho:
        constant = replace(constant, boxes=F(made.rho) / eps if eps else F(0))
    if seed % 2:
        scores = (scores / 2 + rng.normal(0, 0.5, scores.shape)).astype(np.float32).astype(np.float64) - 2
        boxes = (boxes + rng.normal(0, 0.1, boxes.shape)).astype(np.float32).astype(np.float64)
        marked = objects.boxes + rng.normal(0, 0.1, objects.boxes.shape)
        objects = Objects(marked, objects.classes, objects.crowd, objects.ignored)
        tau = [F(1, 2), F(1, 20), F(9, 10), F(999999, 10**6)][seed // 2 % 4]
        detector = replace(detector, of="sigmoid", threshold=tau, limit=[None, 3, 12][seed // 2 % 3])
    return Scene(scores, boxes, None, objects), detector, constant, eps


def located(scene: Scene, detector: Detector) -> Located:
    return Located.of(scene.scores, scene.boxes, scene.objects, detector, (16, 16))


def outcomes(found: Account) -> list[tuple[int, int, int]]:
    return list(found.outcomes())


def worst(counts: list[tuple[int, int, int]]) -> tuple[int, int]:
    """Fewest right and most wrong, each for itself."""
    return min(tp for tp, _, _ in counts), max(fp for _, fp, _ in counts)


def test_what_is_derived_is_what_the_kernels_certify_but_for_their_rounding() -> None:
    equal = total = certain_objects = lost = 0
    for seed in range(examples(160)):
        scene, detector, constant, eps = drawn(seed)
        classes = range(len(scene.scores))
        reach = reach_of(eps, constant, scene.scores.size)
        found = worst(list(ledgers.spent(certain(scene, detector, classes, reach))))
        image, attack = located(scene, detector), Attack.of(eps, constant)
        exact = worst(outcomes(account(image, classes, attack)))
        wide = worst(outcomes(account(image, classes, attack.widened(len(image)))))
        for mine, one, other in zip(found, exact, wide, strict=True):
            assert min(one, other) <= mine <= max(one, other), (seed, found, exact, wide)
        equal, total = equal + (found == exact), total + 1
        certain_objects += exact[0]
        lost += len(account(image, classes, attack).vanish) - exact[0]
    # Rounding decides next to nothing, even where everything ties.
    assert equal > 0.95 * total
    assert certain_objects > total // 8
    assert lost


def test_mislabelled_objects_are_derived_as_the_kernels_certify_them() -> None:
    asked, equal, total = metric("mislabelled"), 0, 0
    for seed in range(examples(160)):
        scene, detector, constant, eps = drawn(seed)
        if len(scene.scores) < 2:
            continue
        classes = range(len(scene.scores))
        reach = reach_of(eps, constant, scene.scores.size)
        found = ledgers.lost(ledger_of(asked, scene, detector, classes, reach))
        image, attack = located(scene, detector), Attack.of(eps, constant)
        exact, wide = (mistakes(image, classes, a).lost for a in (attack, attack.widened(len(image))))
        assert min(exact, wide) <= found <= max(exact, wide), seed
        equal, total = equal + (found == exact), total + 1
    assert equal > 0.95 * total


def test_by_location_what_is_derived_is_what_the_kernels_certify() -> None:
    rng, equal, total = np.random.default_rng(3), 0, 0
    for seed in range(examples(60)):
        detector = Detector("sigmoid", F(1, 2), None, "location", None, 1 + seed % 3, "free", (4, 8))
        scores = rng.normal(0, 1, (2, 20)).astype(np.float32).astype(np.float64)
        corners = rng.integers(0, 9, (3, 2)).astype(np.float64)
        boxes = np.concatenate([corners, corners + rng.integers(3, 9, (3, 2))], axis=1)
        none = np.zeros(3, np.bool_)
        objects = Objects(boxes, rng.integers(0, 2, 3), none, none)
        norm = [L2, L1, LINF][seed % 3]
        constant, eps = Constant(F(1), L2, norm, ConstantStatus.PROVED), F(int(rng.integers(0, 9)), 4)
        image = Located.of(scores, None, objects, detector, (16, 16))
        scene = Scene(scores, None, image.centres, objects)
        reach = reach_of(eps, constant, scores.size)
        attack = Attack.of(eps, constant)
        for name in ("recall", "mislabelled"):
            asked = metric(name)
            ledger = ledger_of(asked, scene, detector, (0, 1), reach)
            ask = mistakes if asked.mislabelled else account
            found = worst(list(ledgers.spent(ledger)))
            exact = worst(outcomes(ask(image, (0, 1), attack)))
            wide = worst(outcomes(ask(image, (0, 1), attack.widened(len(image)))))
            for mine, one, other in zip(found, exact, wide, strict=True):
                assert min(one, other) <= mine <= max(one, other), seed
            equal, total = equal + (found == exact), total + 1
    assert equal > 0.95 * total


def test_no_attack_does_worse_than_derived() -> None:
    """The search of `random_scenes`, which shares nothing with the rechecker."""
    reached = 0
    for seed in range(0, examples(80), 2):
        scene, detector, constant, eps = drawn(seed)
        made = replace(random_scenes.draw(seed), margin=F(1, 2**20))
        if made.rho and not eps:
            continue
        found = outcomes(account(located(scene, detector), range(len(scene.scores)), Attack.of(eps, constant)))
        rng = random.Random(seed)  # noqa: S311  (a test draws attacks, not secrets)
        for _ in range(12):
            scores, key = random_scenes.attack(made, rng)
            boxes = [tuple(c + rng.choice([-1, 0, 1]) * made.rho for c in b) for b in made.boxes]
            counts = [random_scenes.outcome(made, k, row, boxes, key) for k, row in enumerate(scores)]
            tp, fp = sum(c[0] for c in counts), sum(c[1] for c in counts)
            assert any(tp >= a and fp <= b for a, b, _ in found), seed
            reached += tp == found[-1][0]
    assert reached


@pytest.mark.parametrize("far", [F(0), F(1, 3), F(2)])
def test_overlaps_of_boxes_that_move_are_between_those_of_any_move(far: Fraction) -> None:
    """Boxes on a grid, moved by fractions of the distance: no move leaves what is said, and some reaches it."""
    rng = random.Random(5)  # noqa: S311  (a test draws boxes, not secrets)
    sure = possible = 0
    for _ in range(examples(60)):
        one, two = (_box(rng) for _ in range(2))
        t = rng.choice([F(0), F(1, 2), F(1, 3), F(7, 10), F(-1, 8)])
        a, b = Moving(np.array([one], dtype=np.float64), far), Moving(np.array([two], dtype=np.float64), far)
        none = np.array([0])
        always_more = bool(always(a, none, b, none, t, strictly=True)[0])
        ever_more = bool(ever(a, none, b, none, t, strictly=True)[0])
        more = [_more(_moved(one, far, rng), _moved(two, far, rng), t) for _ in range(40)]
        assert not (always_more and not all(more))
        assert ever_more or not any(more)
        if not far:
            assert always_more == ever_more == more[0]
        sure, possible = sure + always_more, possible + ever_more
    assert 0 < sure <= possible


def _box(rng: random.Random) -> list[int]:
    x, y = rng.randint(0, 6), rng.randint(0, 6)
    return [x, y, x + rng.randint(-1, 8), y + rng.randint(0, 8)]


def _moved(box: list[int], far: Fraction, rng: random.Random) -> list[Fraction]:
    return [c + far * rng.choice([F(-1), F(-1, 2), F(0), F(1, 3), F(1)]) for c in box]


def _more(a: list[Fraction], b: list[Fraction], t: Fraction) -> bool:
    both = max(min(a[2], b[2]) - max(a[0], b[0]), F(0)) * max(min(a[3], b[3]) - max(a[1], b[1]), F(0))
    union = sum(max(p[2] - p[0], F(0)) * max(p[3] - p[1], F(0)) for p in (a, b)) - both
    return (both / union if union else F(0)) > t


def test_thresholds_are_bracketed_as_by_the_kernels_and_more_narrowly() -> None:
    for tau in (F(1, 2), F(1, 20), F(999, 1000), F(9999999, 10**7), F(1, 2**23), F(1)):
        mine, theirs = Bracket.of_probability(tau), Threshold.of_probability(tau)
        for value, other, up in ((mine.low, theirs.low, False), (mine.high, theirs.high, True)):
            if value is None:
                assert math.isinf(other)
                continue
            assert (value <= F(other)) if up else (value >= F(other))
            assert abs(float(value) - other) < 1e-9 * (1 + abs(other))
        for score in (-40.0, -8.0, -1.5, 0.0, 2.0, 12.0, 16.5, 30.0, 150.0, 640.0, 900.0, 1e6):
            slack, other = mine.slack(score), theirs.slack(score)
            if slack is None:
                assert math.isinf(other)
            else:
                assert slack <= F(other), (tau, score)
                assert float(slack) == pytest.approx(other, rel=1e-6)
    for tau in (F(1, 3), F(1, 2), F(0), F(-7, 5), F(10**6, 7)):
        score, kernel = Bracket.of_score(tau), Threshold.of_score(tau)
        assert (score.low, score.high) == (F(kernel.low), F(kernel.high))


def test_a_saturated_rival_of_a_huge_logit_is_a_rival() -> None:
    """Sigmoids of 1000 and of 300 are both 1: either may come first, and suppress the other."""
    boxes = np.array([[0.0, 0, 10, 10], [0, 4, 10, 14]])
    scores = np.array([[1000.0, 300.0]])
    none = np.zeros(1, np.bool_)
    objects = Objects(boxes[:1], np.zeros(1, np.int64), none, none)
    detector = Detector("sigmoid", F(1, 2), F(3, 10), "overlap", F(1, 2), 1, "frozen")
    scene = Scene(scores, boxes, None, objects)
    constant = Constant(F(1), L2, L2, ConstantStatus.PROVED)
    assert account(located(scene, detector), [0], Attack.of(F(1, 10), constant)).vanish == ()
    assert certain(scene, detector, [0], reach_of(F(1, 10), constant, 2)).vanish == ()
    assert not ByOverlap(located(scene, detector), 0, Attack.of(F(0), constant), Bracket.of(detector)).vanish()
    assert cpu.floor(Threshold.of_probability(F(1, 2)), reach_of(F(1, 10), constant, 2)) < 0

"""What rounding leaves alone of a detector: scores and boxes moved within it, and the pipeline run again."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from robspec.bounds.mislabelled import counts_of
from robspec.bounds.scene import Scene
from robspec.bounds.settled import settled
from robspec.ir.types import Detector
from tests.examples import examples
from tests.property import random_scenes
from tests.tasks.test_detection import metric

FALSE, WRONG = metric("false_positives"), metric("mislabelled")
TURNS = 12


def moved(scene: Scene, off: float, rho: float, random: np.random.Generator) -> Scene:
    """Scores and boxes anywhere within what they may be off by: at its ends, where most is decided, or between."""
    ends = random.random() < 0.7

    def by(shape: tuple[int, ...], most: float) -> np.ndarray:
        return most * (random.choice([-1.0, 1.0], shape) if ends else random.uniform(-1, 1, shape))

    assert scene.boxes is not None
    return Scene(
        scene.scores + by(scene.scores.shape, off), scene.boxes + by(scene.boxes.shape, rho), None, scene.objects
    )


def counts(scene: Scene, detector: Detector) -> list[tuple[int, int, int]]:
    classes = range(len(scene.scores))
    return [counts_of(m, scene, detector, classes) for m in (FALSE, WRONG)]


@pytest.mark.parametrize("rho", [0.0, 0.015625], ids=["still", "moving"])
@pytest.mark.parametrize("limit", [None, 3])
def test_nothing_within_rounding_finds_anything_else(limit: int | None, rho: float) -> None:
    random = np.random.default_rng(7)
    sure = open_ = differing = 0
    for seed in range(examples(500)):
        drawn = random_scenes.draw(seed)
        if not drawn.boxes or drawn.overlap == 0:
            continue
        scores = np.array(drawn.scores, dtype=np.float64) / 4
        if seed % 3:
            scores += random.normal(size=scores.shape) / 2
        boxes = np.array(drawn.boxes, dtype=np.float64).reshape(-1, 4)
        if rho:
            boxes += random.uniform(-0.3, 0.3, boxes.shape)
        scene = Scene(scores, boxes, None, random_scenes.annotation(drawn))
        given = ("score", Fraction(random_scenes.THETA), drawn.nms, "overlap", drawn.overlap, 1, "frozen")
        detector = Detector(*given, limit=limit)
        off = float(2.0 ** random.integers(-9, 0))
        found = counts(scene, detector)
        same = all(counts(moved(scene, off, rho, random), detector) == found for _ in range(TURNS))
        if settled(scene, detector, Fraction(off), Fraction(rho)):
            sure += 1
            assert same, seed
        else:
            open_ += 1
            differing += not same
    assert sure > open_ / 20
    assert differing > 3

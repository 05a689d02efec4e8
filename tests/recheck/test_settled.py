"""What rounding leaves alone of a detector, decided twice: in doubles pair by pair of arrays, and in rationals."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from robspec.bounds.scene import Scene
from robspec.bounds.settled import Order
from robspec.bounds.settled import settled as in_doubles
from robspec.ir.types import Detector
from robspec.recheck.located import Located
from robspec.recheck.settled import order_settled, settled, shift
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from robspec.verify import arithmetic
from tests.examples import examples
from tests.property import random_scenes

ONE = Constant(Fraction(1), L2, L2, ConstantStatus.PROVED, boxes=Fraction(1))


@pytest.mark.parametrize("rho", [0.0, 0.015625], ids=["still", "moving"])
@pytest.mark.parametrize("limit", [None, 3])
def test_two_readings_agree(limit: int | None, rho: float) -> None:
    random = np.random.default_rng(3)
    answers = []
    for seed in range(examples(500)):
        drawn = random_scenes.draw(seed)
        if not drawn.boxes:
            continue
        scores = np.array(drawn.scores, dtype=np.float64) / 4
        scores += random.normal(size=scores.shape) / 2 if seed % 3 else 0.0
        boxes = np.array(drawn.boxes, dtype=np.float64).reshape(-1, 4)
        boxes += random.uniform(-0.3, 0.3, boxes.shape) if rho and seed % 2 else 0.0
        scene = Scene(scores, boxes, None, random_scenes.annotation(drawn))
        given = ("score", Fraction(random_scenes.THETA), drawn.nms, "overlap", drawn.overlap, 1, "frozen")
        detector = Detector(*given, limit=limit)
        off = Fraction(2) ** int(random.integers(-9, 0))
        constant = replace(ONE, rounding=off, boxes_rounding=Fraction(rho))
        image = Located.of(scores, boxes, scene.objects, detector, (16, 16))
        answers.append(settled(image, constant))
        assert answers[-1] == in_doubles(scene, detector, off, Fraction(rho)), seed
        order = Order(off)
        order.add(scene, detector)
        assert order_settled([image], constant) == order.settled(), seed
    assert 0.05 < np.mean(answers) < 0.95


def test_the_shift_is_that_of_the_check() -> None:
    random = np.random.default_rng(5)
    for _ in range(200):
        a, b, c, d = (Fraction(float(v)) for v in 10.0 ** random.uniform(-9, 3, 4))
        constant = replace(
            ONE, value=a, boxes=b, rounding=c, boxes_rounding=d if random.random() < 0.5 else Fraction(0)
        )
        assert shift(constant) == arithmetic.shift(constant)
        assert shift(constant) * a >= c
        assert shift(constant) * b >= constant.boxes_rounding
    assert shift(ONE) == 0

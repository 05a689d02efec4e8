"""DETECTION.md D5: objects that are missed while a wrong detection of another class covers them."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import numpy as np
import pytest

from robspec.bounds._objects import lost
from robspec.kernels.detection import Ledger, Objects, Pipeline, Reach, Threshold, mislabelled, pipeline

F = Fraction
HALF = F(1, 2)
A, B, FAR = (0.0, 0.0, 10.0, 10.0), (0.0, 4.0, 10.0, 14.0), (40.0, 40.0, 50.0, 50.0)


def objects(*given: tuple[tuple[float, ...], int]) -> Objects:
    n = len(given)
    boxes = np.array([b for b, _ in given], dtype=np.float64).reshape(-1, 4)
    return Objects(boxes, np.array([k for _, k in given], np.int64), np.zeros(n, bool), np.zeros(n, bool))


def read(
    scores: list[list[float]],
    boxes: list[tuple[float, ...]],
    annotated: Objects,
    eps: str,
    classes: tuple[int, ...] = (0, 1),
    norm: int | None = 2,
    *,
    crowded: bool = False,
) -> Ledger:
    z = np.array(scores)
    reach = Reach.of(F(eps), F(1), None if norm is None else F(norm), z.size)
    line = Pipeline(Threshold(0.0, 0.0), HALF, HALF, F(0))
    return mislabelled.read(z, np.array(boxes), annotated, classes, line, reach, crowded=crowded)


def test_one_object_pays_for_its_own_fall_and_for_the_rise_of_another_class() -> None:
    args = ([[3.0], [-4.0]], [A], objects((A, 0)))
    assert lost(read(*args, "4.999")) == 0
    assert lost(read(*args, "5")) == 1  # 9 + 16
    assert lost(read(*args, "3.999", norm=None)) == 0
    assert lost(read(*args, "4", norm=None)) == 1
    assert lost(read(*args, "6.999", norm=1)) == 0
    assert lost(read(*args, "7", norm=1)) == 1
    # A limit may cut the detection out that proves it found: the rise alone is left to pay.
    assert lost(read(*args, "3.999", crowded=True)) == 0
    assert lost(read(*args, "4", crowded=True)) == 1


def test_one_raised_location_may_mislabel_two_objects() -> None:
    # Each pays 1 for its fall; the rise of 16 is paid once.
    pair = objects((A, 0), (B, 0))
    scores = [[1.0, 1.0, -9.0], [-9.0, -9.0, -4.0]]
    boxes = [(0.0, 0.0, 10.0, 8.0), (0.0, 6.0, 10.0, 14.0), (0.0, 2.0, 10.0, 12.0)]
    assert lost(read(scores, boxes, pair, "4.25")) == 2
    assert lost(read(scores, boxes, pair, "4.24")) == 1  # 18 is a square of 4.2426


def test_what_covers_nothing_and_what_is_of_the_same_class_mislabels_nothing() -> None:
    assert lost(read([[3.0, -9.0], [-9.0, 5.0]], [A, FAR], objects((A, 0)), "5")) == 0
    assert lost(read([[3.0, 5.0]], [A, FAR], objects((A, 0)), "50", (0,))) == 0
    assert read([[3.0], [5.0]], [A], objects(), "50").objects == 0
    # Missed as it is, and covered by what fires for the other class.
    assert lost(read([[-3.0], [5.0]], [A], objects((A, 0)), "0")) == 1
    # Asked of the other class only, there is no object.
    assert read([[-3.0], [5.0]], [A], objects((A, 0)), "0", (1,)).objects == 0


def test_the_clean_count_is_of_wrong_detections_only() -> None:
    def count(scores: list[list[float]], annotated: Objects) -> tuple[int, int]:
        kept = {k: pipeline.kept(np.array(row), np.array([A]), 0.0, HALF) for k, row in enumerate(scores)}
        return mislabelled.counted(kept, annotated, (0, 1), HALF)

    assert count([[-1.0], [1.0]], objects((A, 0))) == (1, 1)
    assert count([[1.0], [1.0]], objects((A, 0))) == (0, 1)
    assert count([[-1.0], [-1.0]], objects((A, 0))) == (0, 1)
    # The other class is there too, and found: missed, but not mislabelled.
    assert count([[-1.0], [1.0]], objects((A, 0), (A, 1))) == (0, 2)


@pytest.mark.parametrize("norm", [2, None])
def test_by_location_no_set_of_moves_mislabels_more(norm: int | None) -> None:
    """Every subset of locations of every class fires or not: the count is never below what one of them attains."""
    rng, attained = random.Random(4), 0  # noqa: S311  (a test draws scenes, not secrets)
    for _ in range(40):
        n, least = rng.randint(2, 4), rng.choice([1, 1, 2])
        centres = np.array([[rng.randint(0, 9) + 0.5, 4.5] for _ in range(n)])
        annotated = objects(
            *(
                ((x, 0.0, x + rng.randint(2, 9), 9.0), rng.randrange(2))
                for x in rng.sample(range(8), rng.randint(1, 3))
            )
        )
        scores = np.array([[rng.randint(-6, 6) / 2 for _ in range(n)] for _ in range(2)])
        eps = F(rng.randint(0, 9), 2)
        reach = Reach.of(eps, F(1), None if norm is None else F(norm), 2 * n)
        parts = (centres, annotated, (0, 1))
        ledger = mislabelled.read_locations(scores, *parts, Threshold(0.0, 0.0), least, reach)
        most = 0
        for fires in itertools.product((-1.0, 1.0), repeat=2 * n):
            moved = np.array(fires).reshape(2, n)
            far = np.where(moved * scores < 0, np.abs(scores), 0.0)
            if (far.max() if norm is None else float((far**2).sum()) ** 0.5) <= eps:
                number, total = mislabelled.counted_locations(moved, *parts, 0.0, least)
                assert total == ledger.objects
                most = max(most, number)
        assert most <= lost(ledger)
        attained += most == lost(ledger)
    assert attained >= 30

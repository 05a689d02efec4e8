"""DETECTION.md D6: connected parts of a mask, against scipy, and what losing them takes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy import ndimage

from robspec.kernels.components import labelled, lost, needed, spare
from robspec.kernels.knapsack.budget import Budget

F = Fraction


@pytest.mark.parametrize("density", [0.1, 0.3, 0.45, 0.6, 0.9])
def test_parts_are_those_of_scipy(density: float) -> None:
    rng = np.random.default_rng(int(100 * density))
    for _ in range(60):
        mask = rng.random((rng.integers(1, 24), rng.integers(1, 24))) < density
        found = labelled(mask)
        theirs, count = ndimage.label(mask, np.ones((3, 3)))
        assert found.max(initial=0) == count
        assert ((found > 0) == mask).all()
        # The same partition, numbered in the order of first pixels.
        pairs = set(zip(found[mask].tolist(), theirs[mask].tolist(), strict=True))
        assert len(pairs) == count
        _, firsts = np.unique(found.reshape(-1), return_index=True)
        assert (np.diff(firsts[-count:]) > 0).all() if count else True


def test_parts_that_wind_are_one() -> None:
    spiral = np.array(
        [
            [1, 1, 1, 1, 1, 1, 1],
            [0, 0, 0, 0, 0, 0, 1],
            [1, 1, 1, 1, 1, 0, 1],
            [1, 0, 0, 0, 1, 0, 1],
            [1, 0, 1, 1, 1, 0, 1],
            [1, 0, 0, 0, 0, 0, 1],
            [1, 1, 1, 1, 1, 1, 1],
        ],
        dtype=bool,
    )
    assert labelled(spiral).max() == 1
    assert labelled(np.eye(5, dtype=bool)).max() == 1  # by corners
    comb = np.array([[1, 0, 1, 0, 1], [1, 1, 1, 1, 1]], dtype=bool)
    assert labelled(comb).max() == 1
    assert labelled(np.zeros((3, 3), dtype=bool)).max() == 0


def test_shares_are_exact() -> None:
    assert needed(F("0.07"), 100) == 7  # in doubles 8
    assert needed(F(0), 100) == 1
    assert needed(F(1), 100) == 100
    assert needed(F(1, 3), 10) == 4


def test_a_part_is_lost_with_the_cheapest_pixels_it_cannot_spare() -> None:
    margins = np.array([4.0, 1.0, 3.0, 2.0])
    assert spare(margins, 1).tolist() == [1, 2, 3, 4]
    assert spare(margins, 3).tolist() == [1, 2]
    assert not len(spare(margins, 5))

    def count(eps: str, norm: int | None, need: int) -> int:
        budget = Budget.of(F(eps), F(1), None if norm is None else F(norm), 4, single=False)
        return lost([spare(margins, need)], budget)

    # Squares of halves of distances, both logits moving: (1 + 4) / 2.
    assert (count("1.58", 2, 3), count("1.59", 2, 3)) == (0, 1)
    assert (count("2.99", 1, 3), count("3", 1, 3)) == (0, 1)
    assert (count("0.99", None, 3), count("1", None, 3)) == (0, 1)
    assert count("0", 2, 3) == 0

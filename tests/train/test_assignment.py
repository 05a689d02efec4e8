"""Which location answers for which object: an example worked out by hand, and every rule of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robspec.bounds.scene import centres_of
from robspec.data.objects import Objects
from robspec.train.assignment import Grid, assign, grid_of

LEVELS = (4, 8)
SIDE = 16


def grid() -> Grid:
    """16 locations of stride 4 with centres 2, 6, 10, 14, then 4 of stride 8 with centres 4, 12."""
    return grid_of(torch.from_numpy(centres_of(LEVELS, SIDE, SIDE)).float(), LEVELS, SIDE, SIDE)


def objects(*boxes: tuple[float, float, float, float], crowd: int = -1, ignored: int = -1) -> Objects:
    count = len(boxes)
    at = np.arange(count)
    return Objects(
        np.array(boxes, dtype=np.float64).reshape(-1, 4), np.zeros(count, np.int64), at == crowd, at == ignored
    )


def owners(*boxes: tuple[float, float, float, float]) -> list[int]:
    return assign(grid(), objects(*boxes))[0].tolist()


def at(*places: int, of: int = 0) -> list[int]:
    return [of if n in places else -1 for n in range(20)]


def test_the_grid() -> None:
    found = grid()
    assert found.strides.tolist() == [4.0] * 16 + [8.0] * 4
    assert found.centres[5].tolist() == [6.0, 6.0]
    assert found.centres[17].tolist() == [12.0, 4.0]


def test_inside_the_box_and_near_its_middle() -> None:
    """The middle of (0, 0, 12, 12) is (6, 6): centres 2, 6 and 10 are within 6 of it and inside."""
    assert owners((0, 0, 12, 12)) == at(0, 1, 2, 4, 5, 6, 8, 9, 10)


def test_what_is_far_from_the_middle_is_left_out() -> None:
    """(0, 4, 16, 8): middle (8, 6); of the second row centres 2 and 14 are 6 away, not nearer than 1.5 strides."""
    assert owners((0, 4, 16, 8)) == at(5, 6)


def test_what_is_outside_the_box_is_left_out() -> None:
    """(4.5, 4.5, 7.5, 7.5) holds the centre (6, 6) alone, though its neighbours are near enough."""
    assert owners((4.5, 4.5, 7.5, 7.5)) == at(5)


def test_the_edge_of_a_box_is_outside() -> None:
    assert owners((2, 2, 6, 14)) == owners((2.5, 2.5, 5.5, 13.5))


def test_a_box_between_centres_has_the_nearest_location() -> None:
    assert owners((7, 12, 9, 13)) == at(13)


def test_long_objects_belong_to_the_coarse_level() -> None:
    """A side of 16 is 4 strides of 4; a longer one, even beyond the image, is of the level of 8."""
    assert owners((0, 0, 16, 16)) == at(5, 6, 9, 10)
    assert owners((0, 0, 16.5, 16)) == at(16, 17, 18, 19)
    assert owners((-50, 0, 50, 16)) == at(16, 18)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_smaller_of_two_objects_has_the_location(order: tuple[int, int]) -> None:
    boxes = [(0.0, 0.0, 12.0, 12.0), (4.0, 4.0, 8.0, 8.0)]
    found = owners(*(boxes[k] for k in order))
    big, small = order.index(0), order.index(1)
    assert found == [small if n == 5 else o for n, o in enumerate(at(0, 1, 2, 4, 6, 8, 9, 10, of=big))]


def test_crowds_and_ignored_objects_have_no_location_and_nothing_is_learned_there() -> None:
    for what in ("crowd", "ignored"):
        owner, counts = assign(grid(), objects((0, 0, 8, 8), (4, 4, 8, 8), **{what: 0}))
        assert owner.tolist() == at(5, of=1)
        assert torch.nonzero(~counts)[:, 0].tolist() == [0, 1, 4, 16]


def test_no_objects() -> None:
    owner, counts = assign(grid(), objects())
    assert owner.tolist() == at()
    assert bool(counts.all())

"""Augmentation moves masks with their images: an image of indices says where every pixel came from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robspec.train.augment import augment
from robspec.train.config import Augment

HEIGHT, WIDTH = 12, 20
INDEX = torch.arange(HEIGHT * WIDTH).reshape(1, HEIGHT, WIDTH)
GEOMETRY = [
    Augment(flip=True),
    Augment(crop=(8, 10)),
    Augment(flip=True, crop=(12, 20), scale=(0.5, 2.0)),
    Augment(flip=True, crop=(5, 7), scale=(0.8, 1.7)),
    Augment(scale=(1.0, 3.0)),
]


@pytest.mark.parametrize("how", GEOMETRY)
def test_every_pixel_keeps_its_label(how: Augment) -> None:
    images = (INDEX / 1000).repeat(6, 3, 1, 1).float()
    labels = INDEX.repeat(6, 1, 1)
    for seed in range(20):
        changed, moved = augment(images, labels, how, np.random.default_rng(seed))
        assert changed.shape[2:] == moved.shape[1:] == (how.crop or (HEIGHT, WIDTH))
        assert torch.equal((changed * 1000).round().long(), moved[:, None].expand(-1, 3, -1, -1))


@pytest.mark.parametrize("how", GEOMETRY[1:])
def test_windows_are_windows(how: Augment) -> None:
    """Rows and columns go up (columns down when mirrored) without leaving the image."""
    labels = INDEX.repeat(30, 1, 1)
    _, moved = augment(torch.zeros(30, 3, HEIGHT, WIDTH), labels, how, np.random.default_rng(0))
    rows, columns = moved // WIDTH, moved % WIDTH
    assert bool((rows.diff(dim=1) >= 0).all())
    steps = columns.diff(dim=2)
    assert bool(((steps >= 0).all(dim=(1, 2)) | (steps <= 0).all(dim=(1, 2))).all())
    if how.scale == (1.0, 1.0):
        assert set(rows.diff(dim=1).unique().tolist()) == {1}
        assert len(moved[:, 0, 0].unique()) > 5


def test_both_orientations_occur_and_light_leaves_masks_alone() -> None:
    how = Augment(flip=True, brightness=0.2, contrast=0.3)
    images, labels = torch.rand(40, 3, HEIGHT, WIDTH), INDEX.repeat(40, 1, 1)
    changed, moved = augment(images, labels, how, np.random.default_rng(0))
    mirrored = moved[:, 0, 0] != 0
    assert 5 < int(mirrored.sum()) < 35
    assert torch.equal(torch.where(mirrored[:, None, None], moved.flip(2), moved), labels)
    assert 0 <= float(changed.min()) < float(changed.max()) <= 1
    assert not torch.equal(changed[~mirrored], images[~mirrored])


def test_the_same_state_gives_the_same_bits() -> None:
    images, labels = torch.rand(4, 3, HEIGHT, WIDTH), INDEX.repeat(4, 1, 1)
    how = Augment(flip=True, crop=(6, 6), scale=(0.7, 1.4), brightness=0.1, contrast=0.1)
    first, second = (augment(images, labels, how, np.random.default_rng(9)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_nothing_asked_nothing_changed() -> None:
    images, labels = torch.rand(4, 3, HEIGHT, WIDTH), INDEX.repeat(4, 1, 1)
    changed, moved = augment(images, labels, Augment(), np.random.default_rng(0))
    assert torch.equal(changed, images)
    assert torch.equal(moved, labels)

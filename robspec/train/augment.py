"""Augmentation: geometry is one choice of rows and columns, applied to image and mask alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from robspec.data.objects import Objects
from robspec.train.config import Augment


def augment(images: Tensor, labels: Tensor, how: Augment, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Change a batch at random.

    Args:
        images: [B, C, H, W] in [0, 1].
        labels: [B, H, W]; [B, 1, 1] of whole images, which nothing moves.
        how: what may be changed.
        rng: decides everything; the same state gives the same bits.

    Returns:
        Images and labels of the crop's size, the whole size without one.
    """
    sides = (images.shape[2], images.shape[3])
    size = (how.crop[0], how.crop[1]) if how.crop else sides
    changed, moved = [], []
    for image, mask in zip(images, labels, strict=True):
        factor = float(np.exp(rng.uniform(np.log(how.scale[0]), np.log(how.scale[1]))))
        factor = max(factor, size[0] / sides[0], size[1] / sides[1])
        rows = _window(sides[0], size[0], factor, rng)
        columns = _window(sides[1], size[1], factor, rng)
        mirrored = bool(rng.integers(2)) and how.flip
        if mirrored:
            columns = columns.flip(0)
        changed.append(_lit(image[:, rows][:, :, columns], how, rng))
        moved.append(mask[rows][:, columns] if mask.shape == sides else mask)
    return torch.stack(changed), torch.stack(moved)


def augment_objects(
    images: Tensor, objects: Sequence[Objects], how: Augment, rng: np.random.Generator
) -> tuple[Tensor, tuple[Objects, ...]]:
    """Change a batch of images with objects at random: they are flipped together, and lit.

    Args:
        images: [B, C, H, W] in [0, 1].
        objects: of each image.
        how: what may be changed.
        rng: decides everything; the same state gives the same bits.
    """
    changed, moved = [], []
    for image, found in zip(images, objects, strict=True):
        if bool(rng.integers(2)) and how.flip:
            image, found = image.flip(2), _mirrored(found, image.shape[2])
        changed.append(_lit(image, how, rng))
        moved.append(found)
    return torch.stack(changed), tuple(moved)


def _mirrored(found: Objects, width: int) -> Objects:
    boxes = found.boxes.copy()
    boxes[:, 0], boxes[:, 2] = width - found.boxes[:, 2], width - found.boxes[:, 0]
    return replace(found, boxes=boxes)


def _window(side: int, size: int, factor: float, rng: np.random.Generator) -> Tensor:
    """Which `size` of `side` positions are read, at a random place, each `factor` times as large."""
    if factor == 1.0:
        start = float(rng.integers(0, side - size + 1))
    else:
        start = rng.uniform(0, max(0.0, side - size / factor))
    taken = np.floor(start + (np.arange(size) + 0.5) / factor).astype(np.int64)
    return torch.from_numpy(np.clip(taken, 0, side - 1))


def _lit(image: Tensor, how: Augment, rng: np.random.Generator) -> Tensor:
    shift, stretch = rng.uniform(-how.brightness, how.brightness), rng.uniform(-how.contrast, how.contrast)
    if not shift and not stretch:
        return image
    return ((image - 0.5) * (1 + stretch) + 0.5 + shift).clamp(0, 1)

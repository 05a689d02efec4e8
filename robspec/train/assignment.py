"""Which location of a detector answers for which object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robspec.data.objects import Objects

CENTRAL = 1.5
"""Strides about the middle of a box within which locations answer for it."""
WIDEST = 4.0
"""Longest side of the objects of a level, in strides; the last level takes all that are larger."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The locations of a detector.

    Args:
        centres: [N, 2], x and y in pixels.
        strides: [N], of the location's level.
        levels: the strides, the finest first.
    """

    centres: Tensor
    strides: Tensor
    levels: tuple[int, ...]


def grid_of(centres: Tensor, levels: Sequence[int], height: int, width: int) -> Grid:
    """Describe locations that follow each other level by level.

    Args:
        centres: [N, 2].
        levels: the strides.
        height: of the image.
        width: of the image.
    """
    counts = [-(-height // s) * -(-width // s) for s in levels]
    strides = torch.repeat_interleave(torch.tensor(levels, dtype=torch.float32), torch.tensor(counts))
    return Grid(centres, strides, tuple(levels))


def assign(grid: Grid, objects: Objects) -> tuple[Tensor, Tensor]:
    """Say of which object each location is.

    An object belongs to the first level whose `WIDEST` strides hold its longer side, and there to the locations
    inside its box whose centre is within `CENTRAL` strides of its middle; where there is none, to the nearest one of
    the level. Of several objects a location answers for the smallest. Crowds and ignored objects have none.

    Args:
        grid: the locations.
        objects: of one image.

    Returns:
        int64 [N], an index into `objects`, or -1 for none; and bool [N], False where a crowd or an ignored object
        covers the centre and nothing is learned.

    Source: Tian et al., "FCOS: Fully Convolutional One-Stage Object Detection", ICCV 2019, with centre sampling.
    """
    owner = torch.full((len(grid.centres),), -1, dtype=torch.int64)
    counts = torch.ones(len(grid.centres), dtype=torch.bool)
    boxes = torch.from_numpy(objects.boxes).float()
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    real = [m for m in range(len(boxes)) if not (objects.crowd[m] or objects.ignored[m])]
    for m in sorted(real, key=lambda m: (-float(areas[m]), m)):
        low, high = boxes[m, :2], boxes[m, 2:]
        level = _level(grid.levels, float((high - low).max()))
        here = grid.strides == level
        away = (grid.centres - (low + high) / 2).abs().amax(dim=1)
        inside = ((grid.centres > low) & (grid.centres < high)).all(dim=1)
        chosen = here & inside & (away < CENTRAL * level)
        if not bool(chosen.any()):
            nearest = torch.where(here, away, torch.inf).argmin()
            chosen = torch.arange(len(here)) == nearest
        owner[chosen] = m
    for m in set(range(len(boxes))) - set(real):
        inside = ((grid.centres > boxes[m, :2]) & (grid.centres < boxes[m, 2:])).all(dim=1)
        counts &= ~inside | (owner >= 0)
    return owner, counts


def _level(levels: Sequence[int], side: float) -> int:
    return next((s for s in levels if side <= WIDEST * s), levels[-1])

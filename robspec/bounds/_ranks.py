"""What it costs to push an item's class below a rank (MATH.md section 2)."""

from __future__ import annotations

import torch
from torch import Tensor

_DOWN = 1 - 2.0**-40
"""What the costs of water filling are multiplied with, so that rounding never overstates them."""

_SMALLEST = 2.0**-1022


def reduced(logits: Tensor, labels: Tensor, rank: int, left_out: int, *, water: bool) -> Tensor:
    """Reduce every item to two logits, the first of which leads exactly where its class is among the largest.

    The class is lost once `rank` others are level with it or above. The cheapest are the largest others: with t the
    level at which they meet, that costs min over t of (z_y - t)^2 + sum over them of (t - z_j)_+^2, by water filling.
    Without, it costs what the pair with the last of them costs, which is less in l2 and exact in l1 and linf.

    Args:
        logits: [B, K, H, W], finite.
        labels: int64 [B, H, W], classes, or `left_out`.
        rank: at least 1, less than K.
        left_out: the label of items that do not count.
        water: whether costs are squared l2 distances.

    Returns:
        float64 [B, 2, H, W], (d, 0) where the class is among the `rank` largest, its cost being at least that of a
        pair with margin d, rounded down; (0, 1) where it is not. Equal logits rank in the order of their classes.

    Source: MATH.md section 2.
    """
    z = logits.to(torch.float64)
    own = torch.where(labels == left_out, 0, labels)[:, None]
    mine = z.gather(1, own)
    classes = torch.arange(z.shape[1], device=z.device)[None, :, None, None]
    ahead = (z > mine) | ((z == mine) & (classes < own))
    kept = ahead.sum(1) < rank
    others = z.scatter(1, own, -torch.inf).topk(rank, dim=1).values
    gaps = (mine - others).clamp_min(0.0)
    margin = gaps[:, -1]
    if water:
        margin = torch.maximum(margin, _level(gaps))
    first = torch.where(kept, margin, 0.0)
    return torch.stack([first, torch.where(kept, 0.0, 1.0)], dim=1)


def _level(gaps: Tensor) -> Tensor:
    """Fill up to the level where the class and the others meet.

    Args:
        gaps: [B, R, H, W], ascending along R, not negative: how far the class leads each of the others.

    Returns:
        [B, H, W], sqrt(2 c), rounded down, with c = min over t >= 0 of t^2 + sum (gap - t)_+^2.
    """
    # Scaled by a power of two, so that no square underflows.
    power = torch.frexp(gaps[:, -1]).exponent
    scaled = torch.ldexp(gaps, -power[:, None])
    # The n largest gaps stay above the level t = (their sum) / (n + 1) or not; the minimum is the largest of these.
    sums = scaled.flip(1).cumsum(1)
    count = torch.arange(1, gaps.shape[1] + 1, device=gaps.device, dtype=gaps.dtype)[None, :, None, None]
    t = (sums / (count + 1)).amax(1)
    over = (scaled - t[:, None]).clamp_min(0.0)
    cost = t * t + (over * over).sum(1)
    level = torch.ldexp((2 * cost * _DOWN).sqrt() * (1 - 2.0**-50), power)
    # Only a subnormal result is rounded here.
    return torch.where(level < _SMALLEST, torch.nextafter(level, torch.zeros_like(level)), level)

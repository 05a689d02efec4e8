"""Small steps from an image that was found: the same pixels wrong, in a smaller ball."""

from __future__ import annotations

import torch
from torch import Tensor

from robspec.verify.attacks._hunt import Best, Hunt
from robspec.verify.balls import inside, sizes, spread, steepest, straight
from robspec.verify.goals import typical

_FIRST, _LAST = 0.1, 0.005
"""Lengths of the first and the last step, in radii."""
_BEYOND = 1e-4
"""How far below 0 a margin is to come, in typical margins."""


def polished(hunt: Hunt, images: Tensor, part: Tensor, steps: int, *, at_once: bool = False) -> Tensor:
    """Look for a smaller change that leaves wrong whatever is wrong on an image.

    Args:
        hunt: for the smallest change.
        images: what was found, the clean image where nothing was.
        part: how long the change is to be, of what it is, [N] in double.
        steps: gradients.
        at_once: whether all entries move at once, as far as the linear part of the margins says: in turns to where
            what is wrong is wrong by nothing, which makes the change shorter, and to where what became right in the
            smaller ball is wrong again.

    Returns:
        Images no farther from the clean ones, float32 [N, C, H, W].
    """
    best = Best(hunt)
    logits = hunt.model.logits(images)
    best.see(images, logits)
    scale = typical(hunt.goal.margins(hunt.model.logits(hunt.clean)))
    wrong = hunt.goal.margins(logits) <= 0
    radius = part * sizes(images - hunt.clean, hunt.norm)
    change = inside(images - hunt.clean, radius, hunt.norm)
    for k in range(steps):
        if hunt.late():
            return best.images
        tried = (hunt.clean + change).clamp(*hunt.ends).requires_grad_()
        logits = hunt.model.differentiable(tried)
        best.see(tried, logits)
        short = (hunt.goal.margins(logits).double() / scale[:, None] + _BEYOND) * wrong
        if not at_once or k % 2:
            short = torch.relu(short)
        (slope,) = torch.autograd.grad((short**2).sum(), tried)
        if at_once:
            step = slope * spread(straight((short.detach() ** 2).sum(dim=1), slope)).float()
        else:
            length = _FIRST * (_LAST / _FIRST) ** (k / max(steps - 1, 1))
            step = steepest(slope, hunt.norm) * spread(length * radius).float()
        change = inside(tried.detach() - hunt.clean - step, radius, hunt.norm)
    last = (hunt.clean + change).clamp(*hunt.ends)
    best.see(last, hunt.model.logits(last))
    return best.images

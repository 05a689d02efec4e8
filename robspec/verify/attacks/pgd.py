"""Projected gradient with momentum on the metric itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robspec.verify.attacks._hunt import Best, Hunt, Method
from robspec.verify.balls import spread, steepest, straight
from robspec.verify.goals import cheapest, profits, typical

_FIRST, _LAST = 1.0, 0.1
"""Lengths of the first and the last step, in radii."""
_KEEP = 0.5
"""How much of the direction is that of the step before."""
_BEYOND = 0.02
"""How far below 0 a margin is to come, in typical margins."""
_PHASES = 5
"""How often the pixels that are aimed at are counted anew."""
_MORE = 1.5
"""How many more pixels are aimed at than are lost already."""


def search(hunt: Hunt, at_once: Tensor | None = None) -> Tensor:
    """Descend on the metric made smooth, and keep the best image seen.

    Only the pixels that come next pull, each the more, the further it is from being wrong and the more the metric
    loses by it: of a linear map this is the way to the nearest image on which all of them are wrong. At first they
    are as many as the bound concedes; later somewhat more than are lost by then, as a network concedes less.

    Args:
        hunt: within balls.
        at_once: bool [N], images of which every other step is as long as the linear part of the margins says, and of
            all entries, where those of `steepest` in l1 are of few; None for no image.

    Source: Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", ICLR 2018; the momentum of
    Dong et al., "Boosting Adversarial Attacks with Momentum", CVPR 2018. Which pixels pull follows MATH.md 3.A.
    """
    best, change = Best(hunt), hunt.start
    direction = torch.zeros_like(change)
    already: Tensor | None = None
    aim, scale, worth = hunt.aim, hunt.aim, hunt.aim
    phase = max(hunt.steps // _PHASES, 1)
    for k in range(hunt.steps):
        if hunt.late():
            return best.images
        part = k / max(hunt.steps - 1, 1)
        images = hunt.at(change).requires_grad_()
        logits = hunt.model.differentiable(images)
        best.see(images, logits)
        margins = hunt.goal.margins(logits)
        now = margins.detach()
        lost = (now < 0).sum(dim=1).double()
        if already is None:
            already, scale = lost, typical(now)
        if k % phase == 0:
            worth = profits(hunt.goal, logits, now)
            if k:
                aim = torch.minimum(hunt.aim, already + (_MORE * (lost - already)).clamp_min(1.0))
        # The price of a pixel is the square of its margin.
        chosen = cheapest(torch.where(now > 0, now / worth.sqrt(), now), aim)
        short = torch.relu(margins.double() / scale[:, None] + _BEYOND) * chosen
        far = (worth * short**2).sum(dim=1)
        (slope,) = torch.autograd.grad(far.sum(), images)
        direction = _KEEP * direction + steepest(slope, hunt.norm)
        length = _LAST + (_FIRST - _LAST) * (1 + math.cos(math.pi * part)) / 2
        step = steepest(direction, hunt.norm) * spread(length * hunt.eps).float()
        if at_once is not None and k % 2 == 0:
            step = torch.where(spread(at_once), slope * spread(straight(far.detach(), slope)).float(), step)
        change = images.detach() - hunt.clean - step
    return best.last(change)


METHOD = Method(search, smallest=False)

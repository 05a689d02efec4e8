"""The adaptive segmentation mask attack: towards a mask, with steps that grow as it is reached."""

from __future__ import annotations

import torch
from torch import Tensor

from robspec.verify.attacks._hunt import Best, Hunt, Method
from robspec.verify.balls import spread, steepest
from robspec.verify.goals import cheapest

_LEAST, _MORE = 0.5, 2.0
"""Length of a step: at first, and what is added as the mask is reached."""


def search(hunt: Hunt) -> Tensor:
    """Descend on the pixels of a wrong mask that are not reached yet, the longer the more of them are.

    The mask is fixed at the start: the pixels that a budget pays for first are to be wrong, all others are as they
    are. The share of the mask that is reached sets the length of the step.

    Source: Ozbulak, Van Messem and De Neve, "Impact of Adversarial Examples on Deep Learning Models for Biomedical
    Image Segmentation", MICCAI 2019, equations 2 to 4; their intersection over union with the mask is the share here.
    """
    best, change = Best(hunt), hunt.start
    unit = torch.where(torch.isinf(hunt.eps), 0.4 * hunt.diameter, 1.5 * hunt.eps) / hunt.steps
    mask: Tensor | None = None
    for _ in range(hunt.steps):
        if hunt.late():
            return best.images
        images = hunt.at(change).requires_grad_()
        logits = hunt.model.differentiable(images)
        best.see(images, logits)
        margins = hunt.goal.margins(logits)
        if mask is None:
            mask = cheapest(margins.detach(), hunt.aim)
        left = mask & (margins.detach() > 0)
        reached = 1 - left.sum(dim=1).double() / mask.sum(dim=1).clamp_min(1)
        (slope,) = torch.autograd.grad((margins * left).sum(), images)
        length = unit * (_LEAST + _MORE * reached)
        change = images.detach() - hunt.clean - steepest(slope, hunt.norm) * spread(length).float()
    return best.last(change)


METHOD = Method(search)

"""The dense adversary: all pixels that are still right, at once."""

from __future__ import annotations

import torch
from torch import Tensor

from robspec.verify.attacks._hunt import Best, Hunt, Method
from robspec.verify.balls import spread, steepest
from robspec.verify.goals import cheapest


def search(hunt: Hunt) -> Tensor:
    """Add up normalised gradients of the margins of those aimed-at pixels that are still right, until none is.

    Source: Xie et al., "Adversarial Examples for Semantic Segmentation and Object Detection", ICCV 2017, Algorithm 1;
    here the wrong class is the best other one of the moment, the steps have the length of the norm, and the pixels
    are those that a budget pays for first.
    """
    best, change = Best(hunt), hunt.start
    length = torch.where(torch.isinf(hunt.eps), 0.4 * hunt.diameter, 2.0 * hunt.eps) / hunt.steps
    for _ in range(hunt.steps):
        if hunt.late():
            return best.images
        images = hunt.at(change).requires_grad_()
        logits = hunt.model.differentiable(images)
        best.see(images, logits)
        margins = hunt.goal.margins(logits)
        right = cheapest(margins.detach(), hunt.aim) & (margins.detach() > 0)
        (slope,) = torch.autograd.grad((margins * right).sum(), images)
        # An image whose pixels are all wrong stays where it is.
        change = images.detach() - hunt.clean - steepest(slope, hunt.norm) * spread(length).float()
        if not bool(right.any()):
            break
    return best.last(change)


METHOD = Method(search)

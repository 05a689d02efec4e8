"""Primal-dual proximal gradient: the change descends, one multiplier for each pixel ascends."""

from __future__ import annotations

import torch
from torch import Tensor

from robspec.verify.attacks._hunt import Best, Hunt, Method
from robspec.verify.balls import shrunk, spread, steepest, weight
from robspec.verify.goals import cheapest, typical

_DUAL = 0.5
"""Length of a dual step, in logarithms."""


def search(hunt: Hunt) -> Tensor:
    """Find a saddle point of the norm plus a weighted sum of the margins of the aimed-at pixels.

    The change takes a gradient step and the proximal map of the norm; the weights, which sum to one beside that of
    the norm, ascend by exponentiated gradients: a pixel that stays right weighs more, and once all are wrong the norm
    does.

    Source: Matyasko and Chau, "PDPGD: Primal-Dual Proximal Gradient Descent Adversarial Attack", 2021, section 4;
    with one multiplier for each pixel as in the segmentation form compared by Rony, Pesquet and Ben Ayed, CVPR 2023.
    """
    best, change = Best(hunt), hunt.start
    reach = torch.where(torch.isinf(hunt.eps), 0.1 * hunt.diameter, hunt.eps)
    logs: Tensor | None = None
    scale = reach
    for k in range(hunt.steps):
        if hunt.late():
            return best.images
        images = hunt.at(change).requires_grad_()
        logits = hunt.model.differentiable(images)
        met = best.see(images, logits) <= 0
        margins = hunt.goal.margins(logits)
        if logs is None:
            scale = typical(margins.detach())
            logs = torch.zeros(margins.shape[0], margins.shape[1] + 1, dtype=torch.float64)
        chosen = cheapest(margins.detach(), hunt.aim)
        over = (margins.double() / scale[:, None] + 0.02) * chosen
        share = torch.softmax(logs.masked_fill(~_with_norm(chosen), -torch.inf), dim=1)
        (slope,) = torch.autograd.grad((share[:, 1:] * over).sum(), images)
        with torch.no_grad():
            # The norm rises against the pixels exactly while the goal is met.
            rise = torch.cat([torch.where(met, 1.0, -1.0)[:, None].double(), over.clamp(-1, 1)], dim=1)
            logs = (logs + _DUAL * rise).clamp(-20, 20)
        length = reach * 0.5 * (0.1 + 0.9 * (1 - k / hunt.steps))
        stepped = images.detach() - hunt.clean - steepest(slope, hunt.norm) * spread(length).float()
        change = shrunk(stepped, length * share[:, 0].detach() * weight(stepped, hunt.norm), hunt.norm)
    return best.last(change)


def _with_norm(chosen: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(chosen[:, :1]), chosen], dim=1)


METHOD = Method(search)

"""The augmented Lagrangian of a constraint for each pixel, and a proximal step on the norm."""

from __future__ import annotations

import torch
from torch import Tensor

from robspec.verify.attacks._hunt import Best, Hunt, Method
from robspec.verify.balls import shrunk, spread, steepest, weight
from robspec.verify.goals import cheapest, typical

_BEYOND = 0.02
"""How far below 0 a margin is to come, in typical margins."""
_SMOOTH = 0.8
"""How much of a multiplier is that of the step before."""
_LARGEST = 100.0
"""Multipliers lie between its inverse and it."""


def search(hunt: Hunt) -> Tensor:
    """Minimise the norm under the constraint that each aimed-at pixel is wrong.

    Constraints enter through a penalty with a multiplier each, which follows its slope; its weight rises where a
    pixel stays right. The change takes a gradient step on the penalty, scaled entry by entry by the mean square of
    its slopes, then the proximal map of the norm. Pixels aimed at are chosen anew at each step, so that those that
    resist are left out.

    Source: Rony, Pesquet and Ben Ayed, "Proximal Splitting Adversarial Attack for Semantic Segmentation", CVPR 2023,
    Algorithms 1 and 2, in a plain form: one step length for an image where they have one for each entry.
    """
    best, change = Best(hunt), hunt.start
    reach = torch.where(torch.isinf(hunt.eps), 0.1 * hunt.diameter, hunt.eps)
    multipliers: Tensor | None = None
    weights: Tensor | None = None
    scale = reach
    for k in range(hunt.steps):
        if hunt.late():
            return best.images
        images = hunt.at(change).requires_grad_()
        logits = hunt.model.differentiable(images)
        met = best.see(images, logits) <= 0
        margins = hunt.goal.margins(logits)
        if multipliers is None or weights is None:
            scale = typical(margins.detach())
            multipliers, weights = torch.ones_like(margins).double(), torch.ones_like(margins).double()
        over = margins.double() / scale[:, None] + _BEYOND
        chosen = cheapest(margins.detach(), hunt.aim)
        penalty = _penalty(over, weights, multipliers)
        (slope,) = torch.autograd.grad((penalty * chosen).sum(), images)
        with torch.no_grad():
            pull = multipliers * (1 + weights * over.clamp_min(0)) ** 2 / (1 - weights * over.clamp_max(0)) ** 2
            fresh = _SMOOTH * multipliers + (1 - _SMOOTH) * pull
            multipliers = torch.where(chosen, fresh, multipliers).clamp(1 / _LARGEST, _LARGEST)
            weights = torch.where(chosen & (over > 0), weights * 1.1, weights).clamp_max(_LARGEST)
        length = reach * 0.5 * (0.1 + 0.9 * (1 - k / hunt.steps))
        stepped = images.detach() - hunt.clean - steepest(slope, hunt.norm) * spread(length).float()
        # The norm pulls only where the goal is met: else the change would never grow.
        change = torch.where(
            spread(met), shrunk(stepped, 0.3 * length * weight(stepped, hunt.norm), hunt.norm), stepped
        )
    return best.last(change)


def _penalty(over: Tensor, weights: Tensor, multipliers: Tensor) -> Tensor:
    """A convex penalty of slope mu at 0: cubic above, and below flat far away."""
    above = over.clamp_min(0)
    below = over.clamp_max(0)
    cubic = above + weights * above**2 + weights**2 * above**3 / 3
    return multipliers * (cubic + below / (1 - weights * below))


METHOD = Method(search)

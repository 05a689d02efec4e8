"""The decoupled direction and norm attack."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robspec.verify.attacks._hunt import Best, Hunt, Method
from robspec.verify.balls import inside, sizes, spread, steepest
from robspec.verify.goals import cheapest, typical

_GROWTH = 0.08
"""By which part the radius shrinks while the goal is met, and grows while it is not; less towards the end."""
_FIRST = 0.05
"""The first radius, of the diameter of the range, where none is given."""


def search(hunt: Hunt) -> Tensor:
    """Let the gradient choose the direction alone, and whether the goal is met the norm.

    The radius shrinks while the goal is met and grows while it is not, and the change is brought to it after every
    step. Within a ball that is given, it does not grow beyond.

    Source: Rony et al., "Decoupling Direction and Norm for Efficient Gradient-Based L2 Adversarial Attacks and
    Defenses", CVPR 2019, Algorithm 1, published for l2; in l1 and linf with the steepest step and the projection of
    the norm in place of the scaling.
    """
    best, change = Best(hunt), hunt.start
    whole = hunt.diameter
    radius = hunt.eps.clamp_max(_FIRST * whole)
    scale: Tensor | None = None
    for k in range(hunt.steps):
        if hunt.late():
            return best.images
        fade = (1 + math.cos(math.pi * k / hunt.steps)) / 2
        images = hunt.at(change).requires_grad_()
        logits = hunt.model.differentiable(images)
        met = best.see(images, logits) <= 0
        if scale is None:
            scale = typical(hunt.goal.margins(logits.detach()))
        soft = hunt.goal.soft(logits, scale * 0.3, cheapest(hunt.goal.margins(logits.detach()), hunt.aim))
        (slope,) = torch.autograd.grad(soft.sum(), images)
        growth = _GROWTH * 4 * (0.1 + 0.9 * fade)
        radius = torch.where(met, torch.minimum(radius, best.values) * (1 - growth / 2), radius * (1 + growth))
        radius = torch.minimum(radius, hunt.eps).clamp_max(whole)
        stepped = images.detach() - hunt.clean - steepest(slope, hunt.norm) * spread(radius * (0.1 + fade)).float()
        far = sizes(stepped, hunt.norm).clamp_min(1e-30)
        # In l2 the change is brought to the radius from within as well; a projection alone would leave it there.
        change = inside(stepped * spread((radius / far).clamp_min(1.0)).float(), radius, hunt.norm)
    return best.last(change)


METHOD = Method(search)

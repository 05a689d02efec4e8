"""Learning the signed distance to a class from samples of it alone, against points of the network's own level sets.

The score of a 1-Lipschitz network is below 0 on the class and above 0 away from it. Nobody gives examples of "away":
they are points of the input's range, drawn uniformly and then moved along the gradient towards the level set that the
score should have just outside the class. While the network is rough they lie anywhere; as it becomes a distance they
crowd around the class, where they teach most.

Source: Bethune et al., "Robust One-Class Classification with Signed Distance Function using 1-Lipschitz Neural
Networks", ICML 2023.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from robspec.train.config import Objective
from robspec.train.losses import hkr

_LEAST = 1e-6
"""Of a squared slope; a network with less has no direction to move along."""


def one_class_loss(network: nn.Module, images: Tensor, objective: Objective, rng: np.random.Generator) -> Tensor:
    """Compute the hinge Kantorovich-Rubinstein loss of class samples against as many points of the complement.

    Args:
        network: images [B, C, H, W] to scores [B, 1]; in training mode before and after.
        images: of the class, values in [0, 1].
        objective: `alpha`, `margin` (1 for 0), `newton_steps`.
        rng: decides the points.

    Returns:
        A scalar.
    """
    margin = objective.margin or 1.0
    # Orthogonal weights are computed once for all passes of the step.
    with parametrize.cached():
        network.eval()
        others = complement(network, tuple(images.shape), margin / 2, objective.newton_steps, rng)
        network.train()
        scores: Tensor = network(torch.cat([images, others]))
    away = torch.arange(scores.shape[0]) >= images.shape[0]
    return hkr(scores.float(), away.long(), objective.alpha, margin, objective.tau)


def complement(
    network: nn.Module, shape: tuple[int, ...], level: float, steps: int, rng: np.random.Generator
) -> Tensor:
    """Draw points between uniform ones and the level set of the score.

    Each point goes a share of its own, drawn uniformly in [0, 1], of every Newton step x - (f(x) - level) g / |g|^2
    with g the gradient of f at x; the whole step lands on the level set where f is a distance.

    Args:
        network: images to scores [B, 1], in evaluation mode.
        shape: of what is drawn, [B, C, H, W].
        level: the score aimed at.
        steps: 0 for uniform points.
        rng: decides everything.

    Returns:
        Points in [0, 1], without gradients.
    """
    points = torch.from_numpy(rng.random(shape, dtype=np.float32))
    share = torch.from_numpy(rng.random(shape[0], dtype=np.float32))
    for _ in range(steps):
        with torch.enable_grad():
            scores = network(points.requires_grad_())
            (slope,) = torch.autograd.grad(scores.sum(), points)
        slope = slope.float()
        size = slope.flatten(1).square().sum(dim=1).clamp_min(_LEAST)
        step = share * (scores[:, 0].detach().float() - level) / size
        points = (points.detach() - step[:, None, None, None] * slope).clamp(0, 1)
    return points.detach()

"""The smallest change by bisection: projected gradient at one radius after the other."""

from __future__ import annotations

import torch
from torch import Tensor

from robspec.verify.attacks import pgd
from robspec.verify.attacks._hunt import Best, Hunt, Method

_ROUNDS = 8


def search(hunt: Hunt) -> Tensor:
    """Halve, for each image by itself, the interval between the largest radius that failed and the smallest change.

    Each round starts anew: what a larger ball was spent on is of no use in a smaller one. Within a ball that is
    given, this is `pgd`.

    Source: Carlini and Wagner, "Towards Evaluating the Robustness of Neural Networks", IEEE S&P 2017, section VI, for
    the bisection; Rony et al., "Augmented Lagrangian Adversarial Attacks", ICCV 2021, for that of a radius.
    """
    if not hunt.smallest:
        return pgd.search(hunt)
    best = Best(hunt)
    low = torch.zeros_like(hunt.eps)
    whole = hunt.diameter
    high = torch.full_like(hunt.eps, whole)
    tried = high / 8
    each = max(hunt.steps // _ROUNDS, 2)
    for _ in range(_ROUNDS):
        if hunt.late():
            break
        found = pgd.search(hunt.within(tried, each))
        met = best.see(found, hunt.model.logits(found)) <= 0
        high = torch.minimum(high, best.values)
        low = torch.where(met, low, torch.maximum(low, tried))
        known = torch.isfinite(best.values)
        # While nothing is found the radius doubles; what failed at the whole range is given up.
        tried = torch.where(known, (torch.minimum(low, high) + high) / 2, (2 * tried).clamp_max(whole))
    return best.images


METHOD = Method(search)

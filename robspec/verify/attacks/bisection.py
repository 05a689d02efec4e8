"""The smallest change by bisection: projected gradient at one radius after the other, and a finer end."""

from __future__ import annotations

import torch
from torch import Tensor

from robspec.semantics.norm import L1
from robspec.verify.attacks import pgd
from robspec.verify.attacks._hunt import Best, Hunt, Method, shortened
from robspec.verify.attacks._polish import polished
from robspec.verify.balls import sizes

_ROUNDS = 8
_FINER = 8
"""Most rounds of the end."""
_SHORTER = 0.15
"""By which part the change is to be shorter at first; half as much wherever that failed."""


def search(hunt: Hunt) -> Tensor:
    """Halve, for each image by itself, the interval between the largest radius that failed and the smallest change.

    Each round starts anew: what a larger ball was spent on is of no use in a smaller one. In the end what was found
    is drawn back on the straight line to the image, and made a little shorter, as long as the same pixels stay wrong,
    by small steps in a slightly smaller ball. Within a ball that is given, this is `pgd`.

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
    # Of few gradients none is left for the end.
    each = max(hunt.steps // (_ROUNDS + _FINER), min(hunt.steps // _ROUNDS, 4), 2)
    finer = min(max(hunt.steps // each - _ROUNDS, 0), _FINER)
    for k in range(_ROUNDS):
        if hunt.late():
            break
        # Sparse steps reach few pixels: where they find nothing, all entries are moved every other time.
        at_once = best.values.isinf() if hunt.norm == L1 and k % 2 else None
        found = pgd.search(hunt.within(tried, each), at_once)
        met = best.see(found, hunt.model.logits(found)) <= 0
        high = torch.minimum(high, best.values)
        low = torch.where(met, low, torch.maximum(low, tried))
        known = torch.isfinite(best.values)
        # While nothing is found the radius doubles; what failed at the whole range is given up.
        tried = torch.where(known, (torch.minimum(low, high) + high) / 2, (2 * tried).clamp_max(whole))
    found, less = shortened(hunt, best.images), torch.full_like(hunt.eps, _SHORTER)
    for k in range(finer):
        if hunt.late():
            break
        left = each
        if hunt.norm == L1 and k == 0:
            # What sparse steps have left over is taken off all entries, of which a step of one gradient tells.
            spent = min(each, 2)
            found, left = polished(hunt, found, torch.ones_like(less), spent, at_once=True), each - spent
        nearer = shortened(hunt, polished(hunt, found, 1 - less, left))
        gained = sizes(nearer - hunt.clean, hunt.norm) <= (1 - less) * sizes(found - hunt.clean, hunt.norm)
        found, less = nearer, torch.where(gained, less, less / 2)
    return found


METHOD = Method(search)

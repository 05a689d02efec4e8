"""By how much pixels are right, as a metric counts them: what an attack has to take away."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robspec.ir.plans import Attacked, Components, OverClasses, OverCounts, Ranked, Rate, unweighted
from robspec.ir.types import Metric
from robspec.semantics.classify import Flip


def two_sided(logits: Tensor) -> Tensor:
    """Give a single logit a second class of logit 0 before it."""
    return torch.cat([torch.zeros_like(logits), logits], dim=1) if logits.shape[1] == 1 else logits


def own_margins(logits: Tensor, labels: Tensor, rank: int = 1) -> Tensor:
    """Subtract from each pixel's annotated logit the rank-th of the others.

    Args:
        logits: [B, K, H, W], at least two classes.
        labels: int64 [B, H, W], class indices.
        rank: among how many of the largest logits a class must be to be right.

    Returns:
        [B, H, W], differentiable.
    """
    own = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], -math.inf)
    return own - (others.amax(dim=1) if rank == 1 else others.topk(rank, dim=1).values[:, -1])


def side_margins(logits: Tensor, mine: Tensor, classes: tuple[int, ...]) -> Tensor:
    """Subtract from the best logit of each pixel's side, inside or outside a class set, that of the other side.

    Args:
        logits: [B, K, H, W], at least two classes.
        mine: bool [B, H, W], which pixels are annotated inside.
        classes: the set.

    Returns:
        [B, H, W], differentiable.
    """
    inside = torch.zeros(logits.shape[1], dtype=torch.bool)
    inside[list(classes)] = True
    across = logits[:, inside].amax(dim=1) - logits[:, ~inside].amax(dim=1)
    return torch.where(mine, across, -across)


def margins_by(logits: Tensor, labels: Tensor, metric: Metric) -> Tensor:
    """Compute the margins by which pixels are right.

    Args:
        logits: [B, K, H, W].
        labels: int64 [B, H, W] as the metric sees them, negative where it does not look.
        metric: the metric.

    Returns:
        [B, H, W], differentiable; 0 where being wrong makes the metric no worse.
    """
    counted = labels >= 0
    target = labels.clamp_min(0)
    logits = two_sided(logits)
    plan = unweighted(metric.plan)
    if isinstance(plan, OverCounts | Components) and not isinstance(plan, OverClasses):
        mine = torch.isin(target, torch.tensor(metric.classes))
        margins = side_margins(logits, mine, metric.classes)
        if isinstance(plan, Rate):
            counted = counted & (mine if plan.flips is Flip.LEAVE else ~mine)
        elif isinstance(plan, Components):
            counted = counted & mine
    else:
        margins = own_margins(logits, target, metric.rank)
    return torch.where(counted, margins, 0.0)


def score_margins(logits: Tensor, labels: Tensor, plan: Ranked) -> Tensor:
    """What each score has to lose, [B, 1, 1]: anomalies fall, normal images rise; 0 where nothing is attacked."""
    normal = -logits[:, 0] if plan.attacked is Attacked.BOTH else torch.zeros_like(logits[:, 0])
    return torch.where(labels == 1, logits[:, 0], normal)

"""Losses of a detector: each score against its own target, boxes by their overlap."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from robspec.data.objects import Objects
from robspec.train.assignment import Grid, assign
from robspec.train.config import Objective


def object_loss(
    scores: Tensor, boxes: Tensor, objects: Sequence[Objects], grid: Grid, objective: Objective
) -> Tensor:
    """Compute the configured loss of scores, and of boxes that answer for an object.

    Args:
        scores: [B, K, N], logits.
        boxes: [B, 4, N], pixels.
        objects: what is annotated on each image.
        grid: the locations.
        objective: which loss, and its parameters.

    Returns:
        A scalar: the sum over locations and classes per location that answers for an object, and `boxes` times the
        mean loss of boxes.
    """
    target, counts = torch.zeros_like(scores), torch.zeros(scores.shape[0], scores.shape[2], dtype=torch.bool)
    given, wanted = [], []
    for b, found in enumerate(objects):
        owner, counts[b] = assign(grid, found)
        mine = owner >= 0
        own = owner[mine].numpy()
        target[b, torch.from_numpy(found.classes[own]), torch.nonzero(mine)[:, 0]] = 1.0
        given.append(boxes[b][:, mine].T)
        wanted.append(torch.from_numpy(found.boxes[own]).float())
    kept = counts[:, None, :].expand_as(scores)
    loss = score_loss(scores[kept], target[kept], objective)
    ours, theirs = torch.cat(given), torch.cat(wanted)
    if len(ours) and objective.boxes:
        loss = loss + objective.boxes * (1 - generalised_iou(ours, theirs)).mean()
    return loss


def score_loss(values: Tensor, target: Tensor, objective: Objective) -> Tensor:
    """Sum the loss of scores, per score that should be above the threshold.

    Args:
        values: [M], logits.
        target: [M], 0 or 1.
        objective: "focal": (1 - p)^gamma times the cross-entropy of tau z, the 1 weighted by alpha and the 0 by 1 -
            alpha; "tau-bce": the cross-entropy of tau (z -+ margin), over tau; "hkr": (1 - alpha) times the mean
            score of 0 less that of 1, and alpha times a hinge of margin / 2 on either side.

    Source: focal, Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017; the others as in `losses`.
    """
    count = target.sum().clamp_min(1.0)
    sign = 2 * target - 1
    tau, margin, alpha = objective.tau, objective.margin, objective.alpha
    if objective.kind == "focal":
        plain = functional.binary_cross_entropy_with_logits(tau * values, target, reduction="none")
        wrong = torch.sigmoid(-tau * values * sign)
        weight = target * alpha + (1 - target) * (1 - alpha)
        return (weight * wrong**objective.gamma * plain).sum() / count
    if objective.kind == "tau-bce":
        return functional.softplus(-tau * (sign * values - margin)).sum() / (tau * count)
    ones, zeros = target > 0, target == 0
    apart = _mean(values[zeros]) - _mean(values[ones])
    hinge = functional.relu((margin or 1.0) / 2 - sign * values).sum() / count
    return (1 - alpha) * apart + alpha * hinge


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(1, len(values))


def generalised_iou(first: Tensor, second: Tensor) -> Tensor:
    """Compute the overlap of pairs of boxes, less the share of their hull that neither covers.

    Args:
        first: [M, 4], left, top, right, bottom; widths and heights not negative.
        second: [M, 4].

    Returns:
        [M], from -1 to 1.

    Source: Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019.
    """
    both = (torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])).clamp_min(0)
    hull = torch.maximum(first[:, 2:], second[:, 2:]) - torch.minimum(first[:, :2], second[:, :2])
    areas = (first[:, 2:] - first[:, :2]).prod(dim=1) + (second[:, 2:] - second[:, :2]).prod(dim=1)
    common, around = both.prod(dim=1), hull.prod(dim=1).clamp_min(1e-9)
    union = (areas - common).clamp_min(1e-9)
    return common / union - (around - union) / around

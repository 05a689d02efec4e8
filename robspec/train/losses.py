"""Losses over pixels, for networks whose logits are bounded in slope: what certifies is the margin."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from robspec.train.config import Objective

IGNORED = -1
"""The label of a pixel that no loss counts."""


def loss(logits: Tensor, labels: Tensor, objective: Objective) -> Tensor:
    """Average the configured loss over the pixels that count.

    Args:
        logits: [B, K, H, W]; K = 1 is read as the difference of two classes, (0, z).
        labels: int64 [B, H, W], classes, or `IGNORED`.
        objective: which loss, and its parameters.

    Returns:
        A scalar; 0, still attached to the graph, where no pixel counts.
    """
    kept = labels != IGNORED
    values = logits.movedim(1, -1)[kept]
    right = labels[kept]
    if values.numel() == 0:
        return logits.sum() * 0.0
    if values.shape[1] == 1 and objective.kind == "tau-cce":
        values = torch.cat([torch.zeros_like(values), values], dim=1)
    if objective.kind == "tau-cce":
        return tau_cce(values, right, objective.tau, objective.margin)
    if objective.kind == "cosine":
        return cosine(values, right)
    return hkr(values, right, objective.alpha, objective.margin or 1.0, objective.tau)


def tau_cce(values: Tensor, right: Tensor, tau: float, margin: float) -> Tensor:
    """Cross-entropy of tau times the logits, divided by tau, after the right one has been lowered by a margin.

    A large tau looks at the sign of the margin, hence accuracy; a small one goes on rewarding distance.

    Args:
        values: [N, K].
        right: int64 [N].
        tau: the inverse temperature.
        margin: what the right logit must lead by.

    Returns:
        The mean.

    Source: Bethune et al., "Pay attention to your loss", NeurIPS 2022.
    """
    lowered = values - margin * functional.one_hot(right, values.shape[1]).to(values.dtype)
    return functional.cross_entropy(tau * lowered, right) / tau


def cosine(values: Tensor, right: Tensor) -> Tensor:
    """1 less the cosine of the angle between the logits and the right unit vector.

    Args:
        values: [N, K].
        right: int64 [N].

    Returns:
        The mean.
    """
    aligned = values.gather(1, right[:, None])[:, 0]
    return (1 - aligned / values.square().sum(dim=1).clamp_min(1e-12).sqrt()).mean()


def hkr(values: Tensor, right: Tensor, alpha: float, margin: float, tau: float) -> Tensor:
    """Hinge Kantorovich-Rubinstein: (1 - alpha) KR + alpha hinge.

    KR is the mean wrong logit less the right one, hinge asks the right logit for margin / 2 and the wrong ones for
    -margin / 2. Wrong classes are weighted by the softmax of tau times their logits. A single logit z is signed by
    its class: KR is -y z and hinge max(0, margin / 2 - y z) with y = +-1.

    Args:
        values: [N, K].
        right: int64 [N].
        alpha: 1 for the hinge alone.
        margin: the distance asked for between right and wrong.
        tau: the inverse temperature of the weights.

    Returns:
        The mean.

    Source: Serrurier et al., "Achieving robustness in classification using optimal transport with hinge
    regularization", CVPR 2021; the softmax weights as in orthogonium's SoftHKRMulticlassLoss.
    """
    if values.shape[1] == 1:
        signed = values[:, 0] * (2 * right - 1).to(values.dtype)
        return ((1 - alpha) * -signed + alpha * functional.relu(margin / 2 - signed)).mean()
    chosen = functional.one_hot(right, values.shape[1]).bool()
    weights = torch.softmax((tau * values).masked_fill(chosen, -torch.inf), dim=1)
    lead = values.gather(1, right[:, None])[:, 0]
    kr = (weights * values).sum(dim=1) - lead
    hinge = functional.relu(margin / 2 - lead) + (weights * functional.relu(margin / 2 + values)).sum(dim=1)
    return ((1 - alpha) * kr + alpha * hinge).mean()

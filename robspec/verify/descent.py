"""Projected gradient inside a ball: what every search for worse images descends with, and how finds are measured."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robspec.semantics.norm import LINF, Norm

_INSIDE = 1 - 1e-6
"""The search stays this far inside the ball, so that rounding to float32 does not leave it."""
_UPWARD = 1 + Fraction(1, 2**40)


class Differentiable(Protocol):
    """What a search needs of a model."""

    def logits(self, images: Tensor) -> Tensor:
        """Run the model, [B, C, H, W] to [B, K, H, W]."""
        ...

    def differentiable(self, images: Tensor) -> Tensor:
        """Run the model so that gradients reach the images."""
        ...


def descend(
    model: Differentiable,
    clean: Tensor,
    loss: Callable[[Tensor], Tensor],
    *,
    eps: float,
    norm: Norm,
    steps: int,
    ends: tuple[float, float],
) -> Tensor:
    """Move images down a loss within their balls.

    Args:
        model: gives logits with gradients.
        clean: float32 [B, C, H, W].
        loss: of the logits [B, K, H, W], a scalar in which the images are independent.
        eps: radius of each ball.
        norm: l2 or linf.
        steps: gradients taken.
        ends: of the input range, as float32 numbers inside it.

    Returns:
        float32 [B, C, H, W], in the range; within the ball up to rounding, which whoever uses them measures.
    """
    change = torch.zeros_like(clean)
    for k in range(steps):
        tried = (clean + change).clamp(*ends).requires_grad_()
        (slope,) = torch.autograd.grad(loss(model.differentiable(tried)), tried)
        step = 2.5 * eps / steps * (2 if 2 * k < steps else 0.5)
        moved = (clean + change - step * _direction(slope, norm)).clamp(*ends)
        change = _inside(moved - clean, eps * _INSIDE, norm)
    return (clean + change).clamp(*ends)


def distance_up(image: npt.NDArray[np.float32], clean: npt.NDArray[np.float32], norm: Norm) -> Fraction:
    """Measure how far two images are apart, rounded up.

    Args:
        image: float32, any shape.
        clean: the same shape.
        norm: l2 or linf.

    Returns:
        A bound on the norm of the difference, not below it.
    """
    difference = np.abs(image.astype(np.float64) - clean.astype(np.float64)).reshape(-1)
    if norm == LINF:
        return Fraction(float(difference.max())) * _UPWARD
    if not difference.any():
        return Fraction(0)
    # Squares that vanish are below 2^-1074 each.
    squared = math.fsum((difference * difference).tolist()) + len(difference) * 2.0**-1000
    return Fraction(math.sqrt(squared)) * _UPWARD


def float_range(low: Fraction, high: Fraction) -> tuple[float, float]:
    """The float32 numbers nearest the ends of the input range, inside it."""
    ends = [np.float32(float(end)) for end in (low, high)]
    if Fraction(float(ends[0])) < low:
        ends[0] = np.nextafter(ends[0], np.float32(np.inf))
    if Fraction(float(ends[1])) > high:
        ends[1] = np.nextafter(ends[1], np.float32(-np.inf))
    return float(ends[0]), float(ends[1])


def _direction(slope: Tensor, norm: Norm) -> Tensor:
    if norm == LINF:
        return slope.sign()
    size: Tensor = torch.linalg.vector_norm(slope, dim=(1, 2, 3), keepdim=True)
    return slope / size.clamp_min(1e-30)


def _inside(change: Tensor, eps: float, norm: Norm) -> Tensor:
    """Shrink what lies outside the ball."""
    if norm == LINF:
        return change.clamp(-eps, eps)
    size: Tensor = torch.linalg.vector_norm(change.double(), dim=(1, 2, 3), keepdim=True)
    return (change * (eps / size.clamp_min(1e-30)).clamp_max(1)).float()

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

from robspec.semantics.norm import L1, LINF, Norm
from robspec.verify.balls import inside, spread, steepest

INSIDE = 1 - 1e-6
"""A search stays this far inside the ball, so that rounding to float32 seldom leaves it."""
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
    eps: float | Tensor,
    norm: Norm,
    steps: int,
    ends: tuple[float, float],
) -> Tensor:
    """Move images down a loss within their balls.

    Args:
        model: gives logits with gradients.
        clean: float32 [B, C, H, W].
        loss: of the logits [B, K, H, W], a scalar in which the images are independent.
        eps: radius of each ball, or [B] in double, one each.
        norm: l1, l2 or linf.
        steps: gradients taken.
        ends: of the input range, as float32 numbers inside it.

    Returns:
        float32 [B, C, H, W], in the range; within the ball up to rounding, which whoever uses them measures.
    """
    change = torch.zeros_like(clean)
    radii = torch.as_tensor(eps, dtype=torch.float64).expand(len(clean))
    for k in range(steps):
        tried = (clean + change).clamp(*ends).requires_grad_()
        (slope,) = torch.autograd.grad(loss(model.differentiable(tried)), tried)
        step = spread(2.5 * radii / steps * (2 if 2 * k < steps else 0.5)).to(clean.dtype)
        moved = (clean + change - step * steepest(slope, norm)).clamp(*ends)
        change = inside(moved - clean, radii * INSIDE, norm)
    return (clean + change).clamp(*ends)


def distance_up(image: npt.NDArray[np.float32], clean: npt.NDArray[np.float32], norm: Norm) -> Fraction:
    """Measure how far two images are apart, rounded up.

    Args:
        image: float32, any shape.
        clean: the same shape.
        norm: l1, l2 or linf.

    Returns:
        A bound on the norm of the difference, not below it.
    """
    difference = np.abs(image.astype(np.float64) - clean.astype(np.float64)).reshape(-1)
    if norm == LINF:
        return Fraction(float(difference.max())) * _UPWARD
    if not difference.any():
        return Fraction(0)
    if norm == L1:
        return Fraction(math.fsum(difference.tolist())) * _UPWARD
    # Squares that vanish are below 2^-1074 each.
    squared = math.fsum((difference * difference).tolist()) + len(difference) * 2.0**-1000
    return Fraction(math.sqrt(squared)) * _UPWARD


def fitted(
    image: npt.NDArray[np.float32], clean: npt.NDArray[np.float32], eps: Fraction, norm: Norm
) -> npt.NDArray[np.float32]:
    """Round an image into the ball around another, as float32.

    Args:
        image: float32, any shape; both in a common range.
        clean: the same shape.
        eps: radius, at least 0.
        norm: l1, l2 or linf.

    Returns:
        The image itself where it lies in the ball as `distance_up` measures it, else one nearer on the straight line;
        the clean one where none of these does.
    """
    far = distance_up(image, clean, norm)
    change = image.astype(np.float64) - clean.astype(np.float64)
    short = 2.0**-40
    while far > eps:
        if short > 1:
            return clean.copy()
        part = min(float(eps / far), 1.0) * (1 - short)
        # What is rounded to float32 may come out longer again: each round leaves more room for it.
        image = (clean.astype(np.float64) + part * change).astype(np.float32)
        far, change = distance_up(image, clean, norm), part * change
        short *= 16
    return image


def float_range(low: Fraction, high: Fraction) -> tuple[float, float]:
    """The float32 numbers nearest the ends of the input range, inside it."""
    ends = [np.float32(float(end)) for end in (low, high)]
    if Fraction(float(ends[0])) < low:
        ends[0] = np.nextafter(ends[0], np.float32(np.inf))
    if Fraction(float(ends[1])) > high:
        ends[1] = np.nextafter(ends[1], np.float32(-np.inf))
    return float(ends[0]), float(ends[1])

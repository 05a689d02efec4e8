"""Broadcasting and layout: how often data is repeated, and which axis carries the channels."""

from __future__ import annotations

import math

import torch

from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Value


def copies(call: Call, value: Value, output: int = 0) -> int:
    """Count how often each entry of a value occurs in an output it is broadcast to.

    Args:
        call: the node; its output shape still includes the batch.
        value: an operand.
        output: which output.

    Returns:
        The multiplicity m; the broadcast has norm m^(1/r).

    Raises:
        MixedBatch: data would be repeated over the images of a batch.

    Source: MATH.md section 5.
    """
    shape = call.shapes[output]
    lead = len(shape) - len(value.shape)
    full = [side * call.batch if axis == value.axis else side for axis, side in enumerate(value.shape)]
    repeats = math.prod(shape[:lead])
    for axis, side in enumerate(full):
        target = shape[lead + axis]
        if side == target:
            continue
        if side != 1:
            raise call.refuse(f"dimension {axis} of size {side} is broadcast to {target}")
        repeats *= target
    return repeats


def channel_layout(value: Value, factors: torch.Tensor) -> tuple[tuple[int, ...], torch.Tensor] | None:
    """Find the axis along which constant factors vary, and spread them over it.

    Args:
        value: the data they multiply, of the output's shape.
        factors: float64, broadcastable to the value.

    Returns:
        Channel axis followed by the position axes, and one factor per channel; None where the factors vary
        along several axes or along the batch.
    """
    rank = len(value.shape)
    shape = (1,) * (rank - factors.dim()) + tuple(factors.shape)
    varying = [axis for axis in range(rank) if shape[axis] != 1]
    if varying and bool((factors == factors.reshape(-1)[0]).all()):
        varying, factors = [], factors.reshape(-1)[0]
    if len(varying) > 1 or rank == 0 or (varying and varying[0] == value.axis):
        return None
    view = value.source.step.view
    if view is not None and (not varying or view.stencil.output_axes[0] == varying[0]):
        axes = view.stencil.output_axes
    else:
        channel = varying[0] if varying else min(1, rank - 1)
        if channel == value.axis:
            channel = rank - 1
        axes = default_axes(value, channel)
    if axes[0] < 0 or axes[0] == value.axis:
        return None
    count = value.shape[axes[0]]
    return axes, factors.reshape(-1).expand(count).clone() if factors.numel() == 1 else factors.reshape(-1)


def default_axes(value: Value, channel: int) -> tuple[int, ...]:
    """List a channel axis and then all position axes; the leading copy axis of convolutions is left out."""
    rank = len(value.shape)
    skipped = value.axis if value.axis is not None else (0 if channel == 1 and rank >= 3 else None)
    return (channel, *(axis for axis in range(rank) if axis not in (channel, skipped)))

"""Convolutions and transposed convolutions of any dimension, stride, dilation, padding and groups."""

from __future__ import annotations

import math
from collections import Counter

import torch

from robspec.lipschitz import directed
from robspec.lipschitz.call import Call
from robspec.privacy.asked import Asked, Effect, Share

OPERATIONS = (
    *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution"),
)


def effect(asked: Asked) -> Effect:
    """Bound the gradient of the kernel by G X times the root of how many windows share an entry.

    The gradient is the product of the output's gradient and the input laid out in windows, whose squares count each
    entry as often as windows hold it; for a transposed convolution input and gradient change places.

    Source: PRIVACY.md.
    """
    call = asked.call
    weight, bias = asked.parameter("weight"), call.get("bias")
    source = asked.source
    size = asked.sizes[source]
    gain = asked.operator(weight)
    shares = []
    if weight:
        held = windows(call, source.shape)
        shares.append(Share(weight, directed.mul(size, directed.sqrt(float(held))), f"X sqrt({held})"))
    shift = 0.0
    if isinstance(bias, torch.Tensor):
        repeats = asked.occurrences(bias)
        name = asked.parameter("bias")
        shift = asked.shift(bias, name, repeats)
        if name:
            shares.append(Share(name, directed.sqrt(repeats), f"sqrt({repeats:g})"))
    return Effect(((source, gain),), directed.add(directed.mul(gain, size), shift), tuple(shares))


def windows(call: Call, shape: tuple[int, ...]) -> int:
    """Count how many pairs of a kernel entry and a window may hold the same entry of the wider map.

    Args:
        call: a convolution.
        shape: of its input.

    Returns:
        The largest such number over all places, padding left out of account, which only makes it larger.
    """
    kernel = call.weight("weight").shape[2:]
    dims = len(kernel)
    transposed = "transpose" in call.name or (call.name == "convolution" and call.get("transposed") is True)
    places = shape[-dims:] if transposed else call.shapes[0][-dims:]
    stride, dilation = call.integers("stride", dims), call.integers("dilation", dims)
    return math.prod(_most(*along) for along in zip(kernel, places, stride, dilation, strict=True))


def _most(kernel: int, places: int, stride: int, dilation: int) -> int:
    """Count the pairs (k, p) with the same p stride + k dilation; what is far from an edge is no better off."""
    enough = min(places, 2 * (kernel * dilation // stride + 1) + dilation)
    return max(Counter(p * stride + k * dilation for p in range(enough) for k in range(kernel)).values())

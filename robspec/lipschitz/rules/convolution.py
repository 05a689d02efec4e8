"""Convolutions and transposed convolutions of any dimension: exact stencils, zero padding included."""

from __future__ import annotations

import itertools

import torch

from robspec.lipschitz.call import Call
from robspec.lipschitz.stencil import Stencil
from robspec.lipschitz.values import Step

OPERATIONS = (
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "convolution",
)


def bound(call: Call) -> Step:
    """Write the convolution as a stencil; its norm is taken on the torus (MATH.md section 5).

    Raises:
        NoGlobalConstant: the weight depends on the image.
        MixedBatch: the batch would be a channel or a spatial dimension.
    """
    value = call.value("input")
    weight = call.weight("weight")
    bias = call.tensor("bias")
    dims = weight.dim() - 2
    if len(value.shape) not in (dims + 1, dims + 2) or dims < 1:
        raise call.refuse(f"a convolution of {dims} dimensions over a tensor of rank {len(value.shape)}")
    first = len(value.shape) - dims - 1
    axes = tuple(range(first, len(value.shape)))
    call.passive(value, axes)
    transposed = "transpose" in call.name or (call.name == "convolution" and call.get("transposed") is True)
    stride = call.integers("stride", dims)
    dilation = call.integers("dilation", dims)
    padding = _padding(call, dims, dilation, tuple(weight.shape[2:]))
    groups = call.integer("groups")
    if bias is not None and bias.numel() != (weight.shape[1] * groups if transposed else weight.shape[0]):
        raise call.refuse("the bias does not have one entry per output channel")
    blocks = weight.reshape(groups, -1, *weight.shape[1:])
    kernels = []
    offsets = []
    for tap in itertools.product(*(range(k) for k in weight.shape[2:])):
        kernel = _tap(blocks, tap)
        if bool((kernel == 0).all()):
            continue
        kernels.append(kernel.transpose(1, 2) if transposed else kernel)
        offsets.append(tuple(k * d - p for k, d, p in zip(tap, dilation, padding, strict=True)))
    if not kernels:
        zero = _tap(blocks, (0,) * dims)
        kernels, offsets = [zero.transpose(1, 2) if transposed else zero], [(0,) * dims]
    stencil = Stencil(
        kernels=torch.stack(kernels),
        offsets=tuple(offsets),
        stride=stride,
        inputs=value.shape[first + 1 :],
        outputs=call.shapes[0][first + 1 :],
        circular=(False,) * dims,
        transposed=transposed,
        input_axes=axes,
        output_axes=axes,
    )
    return call.linear(value, stencil)


def _tap(blocks: torch.Tensor, tap: tuple[int, ...]) -> torch.Tensor:
    """Take the matrices of one kernel position, shape (groups, first channels, second channels)."""
    for index in reversed(tap):
        blocks = blocks[..., index]
    return blocks


def _padding(call: Call, dims: int, dilation: tuple[int, ...], sides: tuple[int, ...]) -> tuple[int, ...]:
    """Read the left padding, which alone decides the operator once the output side is known."""
    given = call.get("padding")
    if given == "valid":
        return (0,) * dims
    if given == "same":
        return tuple(d * (k - 1) // 2 for d, k in zip(dilation, sides, strict=True))
    return call.integers("padding", dims)

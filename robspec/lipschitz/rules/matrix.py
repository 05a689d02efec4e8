"""Linear layers and products with constant matrices."""

from __future__ import annotations

from dataclasses import replace

import torch

from robspec.lipschitz import directed
from robspec.lipschitz.call import Call, Constant
from robspec.lipschitz.magnitude import underflow
from robspec.lipschitz.rules.batched_matrix import product
from robspec.lipschitz.stencil import pointwise
from robspec.lipschitz.values import Step, Value

OPERATIONS = ("linear", "mm", "matmul", "addmm", "mv")
DATA = ("input", "self", "other", "mat1", "mat2", "vec")


def bound(call: Call) -> Step:
    """Write the product as one matrix applied at every position.

    Raises:
        NoGlobalConstant: both factors depend on the image.
        MixedBatch: the product sums over the images of a batch.

    Source: MATH.md section 5.
    """
    if call.name == "linear":
        return _apply(call, call.value("input"), call.weight("weight"), -1)
    names = {"addmm": ("mat1", "mat2"), "mm": ("self", "mat2"), "mv": ("self", "vec")}.get(
        call.name, ("self", "other")
    )
    left, right = (call.arguments.get(name) for name in names)
    if isinstance(left, Value) and isinstance(right, Value):
        raise call.refuse(
            "the product of two tensors that both depend on the image has no global Lipschitz constant",
            "attention cannot be certified; use convolutions or products with constant matrices",
        )
    factor, doubt = 1.0, 0.0
    if call.name == "addmm":
        factor = call.number("alpha")
        _, doubt = call.factor("alpha", call.dtypes[0])
        if isinstance(call.arguments.get("self"), Value):
            raise call.refuse("addmm adds data to a product of data", "write the sum as its own operation")
    if isinstance(left, Value):
        if _stacked(right):
            return product(call, names)
        matrix = call.weight(names[1])
        vector = matrix.dim() == 1
        wide = matrix.reshape(1, -1) if vector else matrix.transpose(0, 1)
        return _apply(call, left, wide, -1, drops=vector, factor=factor, doubt=doubt)
    if not isinstance(right, Value):
        raise call.refuse("neither factor depends on the image")
    if _stacked(left):
        return product(call, names)
    matrix = call.weight(names[0])
    dim = -1 if len(right.shape) == 1 else -2
    wide = matrix.reshape(-1, matrix.shape[-1])
    return _apply(call, right, wide, dim, drops=matrix.dim() == 1, factor=factor, doubt=doubt)


def _stacked(factor: object) -> bool:
    """Whether a constant factor is a stack of matrices, or one that is repeated for every image."""
    if not isinstance(factor, Constant) or not isinstance(factor.value, torch.Tensor):
        return False
    return factor.value.dim() > 2 or factor.images is not None


def _apply(
    call: Call,
    value: Value,
    matrix: torch.Tensor,
    dim: int,
    *,
    drops: bool = False,
    factor: float = 1.0,
    doubt: float = 0.0,
) -> Step:
    """Apply factor, known up to a relative doubt, times a matrix of shape (outputs, inputs) along one axis."""
    rank = len(value.shape)
    if matrix.dim() != 2:
        raise call.refuse("the weight is no matrix")
    channel = dim % rank
    call.passive(value, [channel])
    others = tuple(axis for axis in range(rank) if axis not in (channel, value.axis))
    sides = tuple(value.shape[axis] for axis in others)
    if matrix.shape[1] != value.shape[channel]:
        raise call.refuse("the shapes of the product do not match")
    stencil = pointwise((matrix * factor).unsqueeze(0), sides, (channel, *others))
    if factor != 1.0:
        # The mass is that of the rounded products.
        stencil = replace(
            stencil,
            slack=directed.add(
                directed.mul(directed.add(2 * directed.UNIT, 2 * doubt), stencil.mass), underflow(matrix.numel())
            ),
        )
    step = call.linear(value, stencil, axis=call.axis_after(value, [channel], keeps=not drops))
    return call.without_view(step) if drops else step

"""Average pooling, fixed and adaptive."""

from __future__ import annotations

import math

import torch

from robspec.lipschitz import directed
from robspec.lipschitz.call import Call
from robspec.lipschitz.lines import adaptive_line, average_line, product_norm
from robspec.lipschitz.values import Step, Value
from robspec.semantics.norm import L1, LINF

_FIXED = ("avg_pool1d", "avg_pool2d", "avg_pool3d")
_ADAPTIVE = ("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
OPERATIONS = (*_FIXED, *_ADAPTIVE, *(f"_{name}" for name in _ADAPTIVE[1:]))


def bound(call: Call) -> Step:
    """Bound by the product of the norms of the one-dimensional pooling matrices.

    Raises:
        MixedBatch: the pooling runs over the images of a batch.

    Source: MATH.md section 5.
    """
    value = call.value("self")
    sides = int(call.name[call.name.index("pool") + 4])
    axes = tuple(range(len(value.shape) - sides, len(value.shape)))
    call.passive(value, axes)
    matrices, factor = _lines(call, value, axes)
    # A negative divisor makes of a sum of squares what is never above 0.
    override = call.get("divisor_override")
    if value.step.squares is None or (override is not None and call.number("divisor_override") < 0):
        return call.scaled(value, directed.mul(factor, product_norm(matrices, call.norm)))
    columns = directed.mul(factor, product_norm(matrices, L1))
    rows = directed.mul(factor, product_norm(matrices, LINF))
    halves = directed.mul(directed.sqrt(factor), product_norm([m.sqrt() for m in matrices], L1), 1.0 + 1e-15)
    terms = value.step.squares.terms
    return call.squares(
        tuple((u, directed.mul(a, columns), directed.mul(b, rows), directed.mul(c, halves)) for u, a, b, c in terms),
        value.axis,
    )


def _lines(call: Call, value: Value, axes: tuple[int, ...]) -> tuple[list[torch.Tensor], float]:
    """Build the matrices, and the factor by which an overridden divisor changes them."""
    count = len(axes)
    sizes = [(value.shape[axis], call.shapes[0][axis]) for axis in axes]
    if call.name.removeprefix("_") in _ADAPTIVE:
        return [adaptive_line(side, outputs) for side, outputs in sizes], 1.0 + 2.0**-50
    kernel = call.integers("kernel_size", count)
    stride = kernel if call.get("stride") in (None, []) else call.integers("stride", count)
    padding = call.integers("padding", count)
    counted = call.get("count_include_pad") is not False
    override = call.get("divisor_override")
    factor = 1.0 + 2.0**-50
    matrices = []
    for (side, outputs), k, s, p in zip(sizes, kernel, stride, padding, strict=True):
        matrix = average_line(side, outputs, k, s, p, count_padding=counted)
        matrices.append(torch.sign(matrix) if override is not None else matrix)
    if override is not None:
        factor = directed.div(factor, abs(call.number("divisor_override")))
    return matrices, factor if math.isfinite(factor) else math.inf

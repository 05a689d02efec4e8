"""One-dimensional operators of pooling and resampling as explicit matrices, from their definitions."""

from __future__ import annotations

import math

import torch

from robspec.lipschitz import directed
from robspec.lipschitz.norms import matrix_norm
from robspec.semantics.norm import Norm

ENTRY_ERROR = 2.0**-44
"""Bound on the error of each interpolation weight, for sides below 2^12 (a source position below 2^12 in
float64).
"""


def product_norm(matrices: list[torch.Tensor], norm: Norm, *, error: float = 0.0) -> float:
    """Bound the norm of a tensor product of one-dimensional operators by the product of their norms.

    Args:
        matrices: float64, shape (outputs, inputs), one per dimension.
        norm: r.
        error: bound on the error of every non-zero entry.

    Returns:
        The product, rounded up.

    Source: MATH.md section 5.
    """
    return directed.mul(*(_line_norm(matrix, norm, error) for matrix in matrices))


def _line_norm(matrix: torch.Tensor, norm: Norm, error: float) -> float:
    present = (matrix != 0).to(torch.int64)
    most = max(int(present.sum(0).max()), int(present.sum(1).max()))
    return directed.add(matrix_norm(matrix, norm), directed.mul(error, float(most)))


def average_line(
    side: int, outputs: int, kernel: int, stride: int, padding: int, *, count_padding: bool
) -> torch.Tensor:
    """Write one-dimensional average pooling as a matrix.

    Args:
        side: input length.
        outputs: output length (its rounding mode is already decided).
        kernel: window length.
        stride: step between windows.
        padding: zeros on either side.
        count_padding: whether padded zeros count in the divisor; what lies beyond them never does.

    Returns:
        float64, shape (outputs, side).
    """
    matrix = torch.zeros(outputs, side, dtype=torch.float64)
    for o in range(outputs):
        start = o * stride - padding
        end = min(start + kernel, side + padding)
        first, last = max(start, 0), min(end, side)
        count = end - start if count_padding else last - first
        if last > first:
            matrix[o, first:last] = 1.0 / count
    return matrix


def adaptive_line(side: int, outputs: int) -> torch.Tensor:
    """Write one-dimensional adaptive average pooling as a matrix of shape (outputs, side)."""
    matrix = torch.zeros(outputs, side, dtype=torch.float64)
    for o in range(outputs):
        first, last = o * side // outputs, -(-(o + 1) * side // outputs)
        matrix[o, first:last] = 1.0 / (last - first)
    return matrix


def interpolation_line(side: int, outputs: int, *, cubic: bool, align: bool, scale: float | None) -> torch.Tensor:
    """Write one-dimensional linear or cubic (a = -3/4) interpolation as a matrix.

    Args:
        side: input length.
        outputs: output length.
        cubic: cubic instead of linear.
        align: whether corner pixels are aligned.
        scale: the scale factor the caller gave, None to use outputs / side.

    Returns:
        float64, shape (outputs, side).

    Source: the definition in the documentation of torch.nn.functional.interpolate.
    """
    matrix = torch.zeros(outputs, side, dtype=torch.float64)
    if align:
        step = (side - 1) / (outputs - 1) if outputs > 1 else 0.0
    else:
        step = 1.0 / scale if scale is not None and scale > 0 else side / outputs
    for o in range(outputs):
        position = step * o if align else step * (o + 0.5) - 0.5
        if not cubic:
            position = max(position, 0.0)
        base = math.floor(position)
        t = position - base
        weights = _cubic(t) if cubic else {0: 1.0 - t, 1: t}
        for shift, weight in weights.items():
            matrix[o, min(max(base + shift, 0), side - 1)] += weight
    return matrix


def _cubic(t: float) -> dict[int, float]:
    a = -0.75

    def near(x: float) -> float:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: float) -> float:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return {-1: far(t + 1), 0: near(t), 1: near(1 - t), 2: far(2 - t)}

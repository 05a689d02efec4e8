"""The norm of a linear map whose weights lose their signs: what rounding errors are multiplied by."""

from __future__ import annotations

import math

import torch

from robspec.lipschitz import directed
from robspec.lipschitz.magnitude import levelled, scale_up
from robspec.lipschitz.norms import matrix_spectral_norm
from robspec.lipschitz.stencil import Stencil


def absolute_norm(stencil: Stencil) -> float:
    """Bound the l2 norm of |W| for the map W of one node.

    Args:
        stencil: not circular: each tap reads every position at most once.

    Returns:
        The largest spectral norm of the taps' absolute values added up, over groups, rounded up. Every tap moves
        positions without repeating one, so that norms of channels over positions are multiplied by at most that.

    Raises:
        ValueError: positions repeat.
    """
    if any(stencil.circular):
        raise ValueError("a circular map repeats positions")
    level, power = levelled(stencil)
    taps = int(level.kernels.shape[0])
    found = matrix_spectral_norm(level.kernels.abs().sum(0))
    grown = directed.add(directed.mul(found, 1.0 + 1e-6), level.slack)
    return scale_up(directed.mul(grown, level.stretch, 1.0 + 2.0 * directed.gamma(taps + 1)), power)


def products(stencil: Stencil) -> int:
    """Count the products that are added up in one entry of the result, at most."""
    return int(stencil.kernels.shape[0]) * max(int(stencil.kernels.shape[2]), int(stencil.kernels.shape[3]))


def line_norm(matrix: torch.Tensor) -> float:
    """Bound the l2 norm of a matrix of absolute values by the root of its largest row and column sums."""
    sizes = matrix.abs()
    rows, columns = float(sizes.sum(1).max()), float(sizes.sum(0).max())
    grown = 1.0 + 2.0 * directed.gamma(int(sum(matrix.shape)) + 2)
    return math.inf if not math.isfinite(rows) else directed.sqrt(directed.mul(rows, columns, grown, grown))

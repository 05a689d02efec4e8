"""The operator norm of a stencil in any l_r, rounded up, by the cheapest rule that is tight."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import torch

from robspec.lipschitz import directed
from robspec.lipschitz.absolute import column_sums, row_sums
from robspec.lipschitz.definite import largest_eigenvalue
from robspec.lipschitz.magnitude import exponent, levelled, scale_up, scaled, underflow
from robspec.lipschitz.stencil import Stencil
from robspec.lipschitz.torus import adjoint, norm_on_torus
from robspec.semantics.norm import Norm

_DENSE_ENTRIES = 1 << 20
_DENSE_SIDE = 512


def operator_norm(stencil: Stencil, norm: Norm) -> float:
    """Bound the norm of a stencil from l_r to l_r.

    Args:
        stencil: the map.
        norm: r.

    Returns:
        An upper bound on the norm, rounded up.

    Source: MATH.md section 5.
    """
    if stencil.stretch != 1.0:
        return directed.mul(stencil.stretch, operator_norm(replace(stencil, stretch=1.0), norm))
    level, power = levelled(stencil)
    if power != 0:
        return scale_up(operator_norm(level, norm), power)
    if norm.p == 1:
        return column_sums(stencil)
    if norm.p is None:
        return row_sums(stencil)
    two = spectral_norm(stencil)
    if norm.p == 2:
        return two
    one = column_sums(stencil) if norm.p < 2 else 1.0
    infinity = row_sums(stencil) if norm.p > 2 else 1.0
    return directed.between(one, two, infinity, norm)


def spectral_norm(stencil: Stencil) -> float:
    """Bound the l_2 norm of a stencil: exact for selections and small maps, else on the torus."""
    monomial = _monomial(stencil)
    best = norm_on_torus(stencil) if monomial is None else monomial
    if all(_exact_along(stencil, dim) for dim in range(stencil.dims)):
        return best
    rows = stencil.channels_out * math.prod(stencil.outputs)
    columns = stencil.channels_in * math.prod(stencil.inputs)
    side = min(rows, columns) // stencil.groups
    if side > _DENSE_SIDE or rows * columns // stencil.groups > _DENSE_ENTRIES:
        return best
    return min(best, _dense_norm(stencil))


def _exact_along(stencil: Stencil, dim: int) -> bool:
    """Whether the torus norm is the true one along a dimension: nothing is cut off and nothing repeated."""
    whole = stencil.outputs[dim] * stencil.stride[dim] == stencil.inputs[dim]
    return stencil.trivial_along(dim) or (stencil.circular[dim] and whole)


def matrix_norm(matrix: torch.Tensor, norm: Norm) -> float:
    """Bound the l_r norm of one dense float64 matrix of shape (rows, columns), rounded up."""
    power = exponent(matrix)
    if power != 0:
        lost = underflow(matrix.numel())
        return scale_up(directed.add(matrix_norm(scaled(matrix, -power), norm), lost), power)

    def two() -> float:
        return matrix_spectral_norm(matrix.unsqueeze(0))

    return _any_norm(matrix, norm, two)


def matrix_spectral_norm(matrices: torch.Tensor) -> float:
    """Bound the largest l_2 norm of a batch of float64 matrices, shape (batch, rows, columns), rounded up."""
    if matrices.shape[-2] > matrices.shape[-1]:
        matrices = matrices.transpose(-1, -2)
    weight = float(torch.linalg.vector_norm(matrices, dim=(-2, -1)).max()) * (1.0 + 1e-7)
    if weight == 0.0:
        return 0.0
    error = directed.mul(directed.gamma(4 * int(matrices.shape[-1]) + 8), weight, weight)
    gram = matrices @ matrices.transpose(-1, -2)
    return directed.sqrt(
        largest_eigenvalue(lambda: iter(torch.split(gram, max(1, (1 << 22) // gram[0].numel()))), error)
    )


def _any_norm(matrix: torch.Tensor, norm: Norm, two: Callable[[], float]) -> float:
    sizes = 1.0 + 2.0 * directed.gamma(int(sum(matrix.shape)) + 2)
    one = directed.mul(float(matrix.abs().sum(0).max()), sizes)
    infinity = directed.mul(float(matrix.abs().sum(1).max()), sizes)
    if norm.p == 1:
        return one
    if norm.p is None:
        return infinity
    if norm.p == Fraction(2):
        return two()
    return directed.between(one, two(), infinity, norm)


def _monomial(stencil: Stencil) -> float | None:
    """Recognise maps with at most one entry per row and column: their norm is the largest entry, exactly."""
    if len(stencil.offsets) != 1 or any(stencil.circular):
        return None
    present = stencil.kernels[0] != 0
    if int(present.sum(-1).max()) > 1 or int(present.sum(-2).max()) > 1:
        return None
    return directed.add(float(stencil.kernels.abs().max()), stencil.slack)


def _dense_norm(stencil: Stencil) -> float:
    """Write a small stencil as explicit matrices, one per group, and bound their l_2 norm."""
    if stencil.transposed:
        stencil = adjoint(stencil)
    _, groups, rows, columns = stencil.kernels.shape
    places = math.prod(stencil.outputs)
    spots = math.prod(stencil.inputs)
    dense = torch.zeros(groups, rows, places, columns, spots, dtype=torch.float64)
    cells = itertools.product(*(range(m) for m in stencil.outputs))
    outputs = torch.tensor(list(cells), dtype=torch.int64).reshape(places, stencil.dims)
    weights = [math.prod(stencil.inputs[dim + 1 :]) for dim in range(stencil.dims)]
    for tap, offset in enumerate(stencil.offsets):
        inside = torch.ones(places, dtype=torch.bool)
        spot = torch.zeros(places, dtype=torch.int64)
        for dim in range(stencil.dims):
            position = outputs[:, dim] * stencil.stride[dim] + offset[dim]
            if stencil.circular[dim]:
                position = position % stencil.inputs[dim]
            inside &= (position >= 0) & (position < stencil.inputs[dim])
            spot += position * weights[dim]
        where = torch.nonzero(inside)[:, 0]
        block = stencil.kernels[tap].unsqueeze(1).expand(groups, where.numel(), rows, columns)
        dense[:, :, where, :, spot[where]] += block.permute(1, 0, 2, 3)
    matrices = dense.reshape(groups, rows * places, columns * spots)
    added = len(stencil.offsets) if any(stencil.circular) else 0
    folding = directed.mul(added * directed.UNIT, stencil.mass, float(max(places, spots)))
    slack = directed.mul(stencil.slack, float(max(places, spots)))
    return directed.add(matrix_spectral_norm(matrices), slack, folding)

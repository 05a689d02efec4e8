"""The l_1 and l_infinity norms of a stencil: largest absolute column and row sum, border effects included."""

from __future__ import annotations

from dataclasses import replace

import torch

from robspec.lipschitz import directed
from robspec.lipschitz.stencil import Stencil
from robspec.lipschitz.torus import adjoint

_LARGEST_TABLE = 1 << 25


def row_sums(stencil: Stencil) -> float:
    """Bound the l_infinity norm: the largest absolute row sum.

    Args:
        stencil: any stencil.

    Returns:
        The norm rounded up, exact up to rounding for circular or zero padding.

    Source: MATH.md section 5.
    """
    return _largest(stencil, by_output=True)


def column_sums(stencil: Stencil) -> float:
    """Bound the l_1 norm: the largest absolute column sum; see `row_sums`."""
    return _largest(stencil, by_output=False)


def _largest(stencil: Stencil, *, by_output: bool) -> float:
    if stencil.transposed:
        stencil, by_output = adjoint(stencil), not by_output
    stencil = _merge_wrapped(stencil)
    sums = stencil.kernels.abs().sum(-1 if by_output else -2).reshape(len(stencil.offsets), -1)
    counts = _counts(stencil, by_output=by_output)
    if counts is None:
        largest = float(sums.sum(0).max()) * _most(stencil, by_output=by_output)
    else:
        largest = max(
            float((block @ sums).max()) for block in torch.split(counts, _LARGEST_TABLE // sums.numel() + 1)
        )
    terms = int(stencil.kernels.shape[-1] + stencil.kernels.shape[-2]) + len(stencil.offsets) + 4
    grown = directed.mul(largest, 1.0 + 2.0 * directed.gamma(terms))
    wraps = directed.mul(stencil.slack, float(_most(stencil, by_output=by_output)))
    return directed.add(grown, wraps)


def _merge_wrapped(stencil: Stencil) -> Stencil:
    """Add taps that coincide modulo a circular side, so that their signs can cancel as they do in the map."""
    merged: dict[tuple[int, ...], torch.Tensor] = {}
    for offset, kernel in zip(stencil.offsets, stencil.kernels, strict=True):
        key = tuple(
            d % n if wraps else d for d, n, wraps in zip(offset, stencil.inputs, stencil.circular, strict=True)
        )
        merged[key] = merged[key] + kernel if key in merged else kernel
    if len(merged) == len(stencil.offsets):
        return stencil
    rounding = directed.mul(len(stencil.offsets) * directed.UNIT, stencil.mass)
    kernels = torch.stack(list(merged.values()))
    return replace(stencil, kernels=kernels, offsets=tuple(merged), slack=directed.add(stencil.slack, rounding))


def _line_counts(stencil: Stencil, dim: int, *, by_output: bool) -> torch.Tensor:
    """Count the entries along one dimension, per output (or input) position and per distinct offset."""
    offsets = sorted({offset[dim] for offset in stencil.offsets})
    side, outputs, stride = stencil.inputs[dim], stencil.outputs[dim], stencil.stride[dim]
    positions = torch.arange(outputs).unsqueeze(1) * stride + torch.tensor(offsets).unsqueeze(0)
    if stencil.circular[dim]:
        positions = positions % side
    inside = (positions >= 0) & (positions < side)
    if by_output:
        present: torch.Tensor = torch.unique(inside.to(torch.float64), dim=0)
        return present
    table = torch.zeros(side, len(offsets), dtype=torch.float64)
    for column in range(len(offsets)):
        hits = positions[inside[:, column], column]
        table[:, column] += torch.bincount(hits, minlength=side).to(torch.float64)
    distinct: torch.Tensor = torch.unique(table, dim=0)
    return distinct


def _counts(stencil: Stencil, *, by_output: bool) -> torch.Tensor | None:
    """Combine the line counts of all dimensions: shape (distinct positions, taps); None where too large."""
    table = torch.ones(1, len(stencil.offsets), dtype=torch.float64)
    for dim in range(stencil.dims):
        line = _line_counts(stencil, dim, by_output=by_output)
        order = {d: i for i, d in enumerate(sorted({offset[dim] for offset in stencil.offsets}))}
        columns = torch.tensor([order[offset[dim]] for offset in stencil.offsets])
        if table.shape[0] * line.shape[0] * table.shape[1] > _LARGEST_TABLE:
            return None
        table = (table.unsqueeze(1) * line[:, columns].unsqueeze(0)).reshape(-1, len(stencil.offsets))
        table = torch.unique(table, dim=0)
    return table


def _most(stencil: Stencil, *, by_output: bool) -> int:
    """Bound how often one tap can occur in a row (once) or a column (the number of wraps)."""
    if by_output:
        return 1
    most = 1
    for dim in range(stencil.dims):
        most *= max(1, int(_line_counts(stencil, dim, by_output=False).max()))
    return most

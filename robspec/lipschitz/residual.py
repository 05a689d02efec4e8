"""Residual blocks y = A x + B s(C x + b), bounded as one operator by a linear matrix inequality (MATH.md
section 5).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from robspec.lipschitz import directed
from robspec.lipschitz.definite import cholesky_slack
from robspec.lipschitz.frequencies import PHASE_ERROR, angles, half_grid
from robspec.lipschitz.magnitude import exponent
from robspec.lipschitz.stencil import Stencil, densify, settled
from robspec.lipschitz.threads import threads_for

_LARGEST_WORK = 4e11
_LARGEST_ORDER = 1024
_MARGIN = 2.0**-20
_GROWTHS = (1.0 + 1e-6, *(1.5**k for k in range(-1, 11)))
_REFINEMENTS = 32
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class _Phased:
    """A stencil on the coarse lattice: one real matrix per coarse shift, phases as extra channels."""

    taps: dict[tuple[int, ...], torch.Tensor]
    weight: float
    slack: float


@dataclass(frozen=True)
class _Block:
    """The three maps of a block on one torus."""

    skip: _Phased
    back: _Phased
    inner: _Phased
    sides: tuple[int, ...]


def block_norm(skip: Stencil, back: Stencil, inner: Stencil) -> float | None:
    """Bound the l_2 constant of x -> A x + B s(C x + b) for any entrywise s with slopes in [0, 1].

    For a diagonal T >= 0, constant over positions, the block is L-Lipschitz if at every frequency [[L^2 I -
    A*A, -(A*B + C*T)], [-(B*A + T C), 2 T - B*B]] is positive semi-definite. T and L are searched in
    floating point; what is returned has passed a rounding-bounded definiteness test at every frequency.

    Args:
        skip: A, from x to y.
        back: B, from the hidden map to y.
        inner: C, from x to the hidden map.

    Returns:
        L, rounded up; None where the block has no common torus, is too large, or no T was found.

    Source: MATH.md section 5.
    """
    # Extreme weights are left to the triangle inequality: the test below has absolute terms.
    block = _on_torus(skip, back, inner) if not any(exponent(s.kernels) for s in (skip, back, inner)) else None
    if block is None:
        return None
    frequencies = half_grid(block.sides)
    width = next(iter(block.skip.taps.values())).shape[1]
    hidden = next(iter(block.back.taps.values())).shape[1]
    order = width + hidden
    if order > _LARGEST_ORDER or len(frequencies) * order**3 > _LARGEST_WORK:
        return None
    with threads_for(order):
        spectra = list(_spectra(block, frequencies))
        multiplier = _search(_sample(spectra, order), inner.channels_out)
        level = None if multiplier is None else _level(spectra, multiplier)
        if multiplier is None or level is None:
            return None
        return _proved(block, spectra, multiplier, level)


def _on_torus(skip: Stencil, back: Stencil, inner: Stencil) -> _Block | None:
    """Bring the three maps onto one coarse torus; None where strides, wraps or sides do not fit together."""
    straight = [_straight(stencil) for stencil in (skip, back, inner)]
    if any(stencil is None for stencil in straight):
        return None
    a, b, c = (stencil for stencil in straight if stencil is not None)
    fits = (
        a.inputs == c.inputs
        and c.outputs == b.inputs
        and a.outputs == b.outputs
        and a.channels_in == c.channels_in
        and c.channels_out == b.channels_in
        and a.stride == b.stride
        and all(s == 1 for s in c.stride)
        and a.input_axes == c.input_axes
        and c.output_axes == b.input_axes
        and a.output_axes == b.output_axes
    )
    if not fits:
        return None
    sides = []
    for dim in range(a.dims):
        side = _side(a, b, c, dim)
        if side is None:
            return None
        sides.append(side // a.stride[dim])
    stride = a.stride
    return _Block(_phased(a, stride, False), _phased(b, stride, False), _phased(c, stride, True), tuple(sides))


def _straight(stencil: Stencil) -> Stencil | None:
    """Write a transposed stencil of stride 1 as an ordinary one, in a single group."""
    full = densify(settled(stencil))
    if full is None or not stencil.transposed:
        return full
    if any(s != 1 for s in stencil.stride):
        return None
    return replace(full, transposed=False, offsets=tuple(tuple(-d for d in o) for o in full.offsets))


def _side(a: Stencil, b: Stencil, c: Stencil, dim: int) -> int | None:
    """Find a torus side, a multiple of the stride, on which no read wraps by accident."""
    stride, side, hidden = a.stride[dim], a.inputs[dim], c.outputs[dim]
    wraps = {s.circular[dim] for s in (a, b, c) if not s.trivial_along(dim)}
    if len(wraps) > 1:
        return None
    if wraps == {True}:
        exact = hidden == side and side % stride == 0 and a.outputs[dim] * stride == side
        return side if exact else None
    last = (a.outputs[dim] - 1) * stride
    low, high = 0, max(side, hidden) - 1
    for stencil, end in ((a, last), (b, last), (c, hidden - 1)):
        reads = [offset[dim] for offset in stencil.offsets]
        low, high = min(low, min(reads)), max(high, end + max(reads))
    return -(-(high - low + 1) // stride) * stride


def _phased(stencil: Stencil, stride: tuple[int, ...], square: bool) -> _Phased:
    """Split positions into stride phases: of the input, and of the output too where `square`."""
    rows, columns = stencil.channels_out, stencil.channels_in
    grid = list(itertools.product(*(range(s) for s in stride)))
    index = {phase: number for number, phase in enumerate(grid)}
    starts = grid if square else [(0,) * stencil.dims]
    taps: dict[tuple[int, ...], torch.Tensor] = {}
    for number, start in enumerate(starts):
        for offset, kernel in zip(stencil.offsets, stencil.kernels[:, 0], strict=True):
            reach = [p + d for p, d in zip(start, offset, strict=True)]
            key = tuple(r // s for r, s in zip(reach, stride, strict=True))
            column = index[tuple(r % s for r, s in zip(reach, stride, strict=True))]
            if key not in taps:
                taps[key] = torch.zeros(rows * len(starts), columns * len(grid), dtype=torch.float64)
            block = taps[key][number * rows : (number + 1) * rows, column * columns : (column + 1) * columns]
            block += kernel
    weight = directed.mul(sum(float(torch.linalg.vector_norm(t)) for t in taps.values()), 1.0 + 1e-7)
    folding = directed.mul(len(stencil.offsets) * directed.UNIT, stencil.mass, float(len(starts)))
    return _Phased(taps, weight, directed.add(directed.mul(stencil.slack, float(len(starts))), folding))


_Spectrum = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def _spectra(block: _Block, frequencies: torch.Tensor) -> Iterator[_Spectrum]:
    """Yield batches of A*A, of (B*A, C) stacked, and of B*B."""
    for part in torch.split(frequencies, 256):
        a, b, c = (_transfer(phased.taps, part, block.sides) for phased in (block.skip, block.back, block.inner))
        yield a.mH @ a, torch.stack([b.mH @ a, c]), b.mH @ b


def _transfer(
    taps: dict[tuple[int, ...], torch.Tensor], frequencies: torch.Tensor, sides: tuple[int, ...]
) -> torch.Tensor:
    keys = list(taps)
    rows = torch.stack([taps[key] for key in keys])
    turned = angles([tuple(q % n for q, n in zip(key, sides, strict=True)) for key in keys], frequencies, sides)
    flat = rows.reshape(len(keys), -1)
    return torch.complex(turned.cos() @ flat, turned.sin() @ flat).reshape(-1, *rows.shape[1:])


def _sample(spectra: list[_Spectrum], order: int) -> list[_Spectrum]:
    """Keep a spread of frequencies for the search; the proof afterwards uses them all."""
    total = sum(len(outer) for outer, _, _ in spectra)
    step = max(1, total // (24 if order <= 128 else 8))
    return [(outer[::step], crossed[:, ::step], inner[::step]) for outer, crossed, inner in spectra]


def _search(spectra: list[_Spectrum], hidden: int) -> torch.Tensor | None:
    """Find a multiplier T with a small L: a coarse scan of several shapes, then golden-section steps on the
    best.

    The search stops early at the l_2 norm of A, which no multiplier can beat (all slopes may be 0).
    """
    goal = max(float(torch.linalg.eigvalsh(outer)[:, -1].max()) for outer, _, _ in spectra) ** 0.5 * (1.0 + 1e-7)
    best: tuple[float, torch.Tensor] | None = None
    for base in _shapes(spectra, hidden):
        found = _scaled(spectra, base, goal)
        if found is not None and (best is None or found[0] < best[0]):
            best = (found[0], base * (found[1] * (1.0 + 1e-7)))
        if best is not None and best[0] <= goal:
            break
    return None if best is None else best[1]


def _scaled(spectra: list[_Spectrum], base: torch.Tensor, goal: float) -> tuple[float, float] | None:
    """Scale one shape of multiplier: a coarse scan, then golden-section steps. Returns L and the scale."""
    coarse = [(_level(spectra, base * growth), growth) for growth in _GROWTHS]
    known = [(level, growth) for level, growth in coarse if level is not None]
    if not known:
        return None
    best = min(known)
    low, high = best[1] / 1.6, best[1] * 1.6
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = _level(spectra, base * left), _level(spectra, base * right)
    for _ in range(_REFINEMENTS):
        tried = [(value, point) for value, point in ((at_left, left), (at_right, right)) if value is not None]
        best = min([best, *tried])
        if best[0] <= goal:
            break
        if at_left is not None and (at_right is None or at_left <= at_right):
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = _level(spectra, base * left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = _level(spectra, base * right)
    return best


def _shapes(spectra: list[_Spectrum], hidden: int) -> list[torch.Tensor]:
    """Propose multipliers up to scale: least squares of B*A + T C = 0, uniform, and diagonal dominance of
    B*B."""
    numerator = torch.zeros(hidden, dtype=torch.float64)
    denominator = torch.zeros(hidden, dtype=torch.float64)
    dominant = torch.zeros(hidden, dtype=torch.float64)
    largest = 0.0
    for _, crossed, inner in spectra:
        product = -(crossed[0] * crossed[1].conj()).real.sum(-1).sum(0).reshape(-1, hidden)
        numerator += product.sum(0)
        denominator += crossed[1].abs().square().sum(-1).sum(0).reshape(-1, hidden).sum(0)
        dominant = torch.maximum(dominant, inner.abs().sum(-1).amax(0).reshape(-1, hidden).amax(0) / 2)
        largest = max(largest, float(torch.linalg.eigvalsh(inner)[:, -1].max()) / 2)
    floor = max(largest, 1e-12) * 1e-3
    squares = (numerator / denominator.clamp_min(1e-300)).clamp_min(floor)
    return [torch.full_like(squares, max(largest, 1e-12)), squares, dominant.clamp_min(floor)]


def _level(spectra: list[_Spectrum], multiplier: torch.Tensor) -> float | None:
    """Find the least L for a multiplier in plain floating point; None where 2 T - B*B is not positive."""
    worst = 0.0
    for outer, crossed, inner in spectra:
        weights = multiplier.repeat(inner.shape[-1] // len(multiplier)).to(inner.dtype)
        gap = 2 * torch.diag(weights) - inner
        factor, info = torch.linalg.cholesky_ex(gap)
        if bool((info != 0).any()):
            return None
        mixed = crossed[0] + weights.unsqueeze(-1) * crossed[1]
        solved = torch.linalg.solve_triangular(factor, mixed, upper=False)
        worst = max(worst, float(torch.linalg.eigvalsh(outer + solved.mH @ solved)[:, -1].max()))
    return float(max(worst, 0.0) ** 0.5)


def _proved(block: _Block, spectra: list[_Spectrum], multiplier: torch.Tensor, level: float) -> float | None:
    """Raise L from its estimate until the inequality passes the definiteness test at every frequency."""
    for growth in (1.0, 4.0, 64.0, 1024.0):
        bound = level * (1.0 + growth * _MARGIN) + 1e-12
        if all(_holds(block, part, multiplier, bound) for part in spectra):
            return bound
    return None


def _holds(block: _Block, part: _Spectrum, multiplier: torch.Tensor, bound: float) -> bool:
    """Test L^2 I - ... >= 0 with its own rounding error and that of the factorisation subtracted first."""
    outer, crossed, inner = part
    weights = multiplier.repeat(inner.shape[-1] // len(multiplier)).to(inner.dtype)
    width, order = outer.shape[-1], outer.shape[-1] + inner.shape[-1]
    matrix = torch.zeros(len(outer), order, order, dtype=inner.dtype)
    matrix[:, :width, :width] = bound * bound * torch.eye(width, dtype=outer.dtype) - outer
    mixed = crossed[0] + weights.unsqueeze(-1) * crossed[1]
    matrix[:, width:, :width] = -mixed
    matrix[:, :width, width:] = -mixed.mH
    matrix[:, width:, width:] = 2 * torch.diag(weights) - inner
    top = float(multiplier.max())
    trace = directed.add(directed.mul(bound, bound, float(width)), directed.mul(2 * top, float(order - width)), 1e-9)
    shift = directed.add(_error(block, top, bound, order), cholesky_slack(order, trace))
    _, info = torch.linalg.cholesky_ex(matrix - 2 * shift * torch.eye(order, dtype=matrix.dtype))
    return not bool((info != 0).any())


def _error(block: _Block, top: float, bound: float, order: int) -> float:
    """Bound in l_2 the error of the computed matrix inequality, kernel slack and rounding included."""
    a, b, c = block.skip, block.back, block.inner
    taps = max(len(phased.taps) for phased in (a, b, c))
    relative = directed.add(directed.gamma(8 * (order + taps + 8)), 4 * PHASE_ERROR)
    da, db, dc = (directed.add(directed.mul(relative, p.weight), p.slack) for p in (a, b, c))
    wa, wb, wc = (directed.add(p.weight, d) for p, d in ((a, da), (b, db), (c, dc)))
    first_order = directed.add(
        directed.mul(2.0, wa, da),
        directed.mul(2.0, wb, db),
        directed.mul(2.0, wa, db),
        directed.mul(2.0, wb, da),
        directed.mul(2.0, top, dc),
    )
    size = directed.add(
        directed.mul(wa, wa), directed.mul(2.0, wa, wb), directed.mul(wb, wb), directed.mul(2.0, top, wc)
    )
    scale = directed.add(directed.mul(bound, bound), 2 * top)
    return directed.add(first_order, directed.mul(relative, size), directed.mul(8 * directed.UNIT, scale))

"""The l_2 norm of a stencil from its transfer matrices on a discrete torus (MATH.md section 5)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from robspec.lipschitz import directed
from robspec.lipschitz.definite import largest_eigenvalue, smallest_eigenvalue
from robspec.lipschitz.frequencies import PHASE_ERROR, angles, half_grid
from robspec.lipschitz.pruning import Matrices, largest_on_torus, worth_pruning
from robspec.lipschitz.sampling import PER_DEGREE, between_samples, coarse_grid, degrees, worth_sampling
from robspec.lipschitz.stencil import Stencil
from robspec.lipschitz.threads import threads_for

_CHUNK_ENTRIES = 1 << 22
_FEW = 8
"""Frequencies that are asked for where most are left out, for each of the coarse grid."""


@dataclass(frozen=True)
class _Line:
    """One dimension on the torus: its side, and where each tap lands.

    Args:
        side: number of frequencies.
        shifts: per tap, the shift on the coarse grid.
        phases: number of input phases s, extra input channels.
        phase: per tap, the input phase it reads.
        repeats: how often one output row can occur.
    """

    side: int
    shifts: tuple[int, ...]
    phases: int
    phase: tuple[int, ...]
    repeats: int


def adjoint(stencil: Stencil) -> Stencil:
    """Exchange input and output; the l_2 norm is the same."""
    return replace(
        stencil,
        kernels=stencil.kernels.transpose(-1, -2),
        inputs=stencil.outputs,
        outputs=stencil.inputs,
        transposed=not stencil.transposed,
        input_axes=stencil.output_axes,
        output_axes=stencil.input_axes,
    )


def norm_on_torus(stencil: Stencil) -> float:
    """Bound the l_2 norm of a stencil from above by its largest singular value over a torus grid.

    Args:
        stencil: not transposed along a circular dimension.

    Returns:
        An upper bound; exact up to 2.4e-7 relative where every dimension is circular with a grid of n, or
        pointwise.

    Source: MATH.md section 5.
    """
    if stencil.transposed:
        stencil = adjoint(stencil)
    lines = [_line(stencil, dim) for dim in range(stencil.dims)]
    repeats = math.prod(line.repeats for line in lines)
    taps = _fold(stencil, lines)
    with threads_for(min(stencil.kernels.shape[2:])):
        squared = _largest_squared(taps, tuple(line.side for line in lines))
    folding = directed.mul(len(stencil.offsets) * directed.UNIT, stencil.mass)
    bound = directed.add(directed.sqrt(squared), stencil.slack, folding)
    return directed.mul(bound, directed.sqrt(float(repeats))) if repeats > 1 else bound


def _line(stencil: Stencil, dim: int) -> _Line:
    """Place one dimension on its torus: decimated by common dilation, split into stride phases."""
    offsets = [offset[dim] for offset in stencil.offsets]
    stride, inputs, outputs = stencil.stride[dim], stencil.inputs[dim], stencil.outputs[dim]
    base = min(offsets)
    dilation = math.gcd(*(offset - base for offset in offsets))
    taps = len(offsets)
    if stencil.circular[dim]:
        repeats = 1
        if stride == 1:
            repeats = -(-outputs // inputs)
        elif inputs % stride == 0:
            shifts = tuple(offset // stride for offset in offsets)
            phase = tuple(offset % stride for offset in offsets)
            return _Line(inputs // stride, shifts, stride, phase, -(-outputs * stride // inputs))
        else:
            counts = [0] * inputs
            for position in range(outputs):
                counts[position * stride % inputs] += 1
            repeats = max(counts)
        common = math.gcd(dilation, inputs)
        step = dilation if dilation else 1
        shifts = tuple((offset - base) // step for offset in offsets)
        return _Line(inputs // common, shifts, 1, (0,) * taps, repeats)
    if dilation == 0:
        return _Line(1, (0,) * taps, 1, (0,) * taps, 1)
    stride //= math.gcd(stride, dilation)
    side = -(-inputs // dilation)
    reduced = [(offset - base) // dilation for offset in offsets]
    shifts = tuple(k // stride for k in reduced)
    phase = tuple(k % stride for k in reduced)
    # Padding may misalign the stride's phases, so the fine side must hold every input and the whole kernel; only then
    # do distinct rows stay distinct and none reaches around to inputs it does not read.
    side = -(-(side + max(reduced)) // stride)
    return _Line(side, shifts, stride, phase, 1)


def _fold(stencil: Stencil, lines: list[_Line]) -> dict[tuple[int, ...], torch.Tensor]:
    """Collect kernels by coarse shift; stride phases become extra input channels."""
    _, groups, rows, columns = stencil.kernels.shape
    phases = [line.phases for line in lines]
    count = math.prod(phases)
    folded: dict[tuple[int, ...], torch.Tensor] = {}
    for tap in range(len(stencil.offsets)):
        key = tuple(line.shifts[tap] % line.side for line in lines)
        position = 0
        for line in lines:
            position = position * line.phases + line.phase[tap]
        if key not in folded:
            folded[key] = torch.zeros(groups, rows, columns * count, dtype=torch.float64)
        folded[key][:, :, position * columns : (position + 1) * columns] += stencil.kernels[tap]
    return folded


def _largest_squared(taps: dict[tuple[int, ...], torch.Tensor], sides: tuple[int, ...]) -> float:
    """Bound the largest squared singular value of sum_q A_q exp(2 pi i <j / N, q>) over all frequencies j and
    groups.
    """
    keys = list(taps)
    stack = torch.stack([taps[key] for key in keys])
    if stack.shape[2] > stack.shape[3]:
        stack = stack.transpose(-1, -2).contiguous()
    weights = torch.linalg.vector_norm(stack, dim=(-2, -1)).sum(0) * (1.0 + 1e-7)
    total = float(weights.max())
    if total == 0.0:
        return 0.0
    squared = directed.mul(total, total)
    found = _sampled(keys, stack, sides, squared)
    if found is None:
        found = _pruned(keys, stack, sides, squared)
    if found is None:
        grid = half_grid(sides)
        grams, error = _family(keys, stack, sides, squared, len(grid))
        found = largest_eigenvalue(lambda: grams(grid), error)
    return found


def _sampled(
    keys: list[tuple[int, ...]], stack: torch.Tensor, sides: tuple[int, ...], squared: float
) -> float | None:
    """Bound the largest squared singular value from few frequencies; None where that is not close, or not cheaper."""
    coarse = coarse_grid(keys, sides)
    if coarse is None or not worth_sampling(stack.sum(0)):
        return None
    grid = half_grid(coarse)
    grams, error = _family(keys, stack, coarse, squared, len(grid))
    upper = largest_eigenvalue(lambda: grams(grid), error)
    refined = sum(few < side for few, side in zip(coarse, sides, strict=True))
    return between_samples(upper, smallest_eigenvalue(lambda: grams(grid), upper, error), refined)


def _pruned(keys: list[tuple[int, ...]], stack: torch.Tensor, sides: tuple[int, ...], squared: float) -> float | None:
    """Bound the largest squared singular value without most frequencies; None where they are few."""
    reach = degrees(keys, len(sides))
    if not worth_pruning(reach, sides):
        return None
    grams, error = _family(keys, stack, sides, squared, _FEW * math.prod(PER_DEGREE * max(m, 1) for m in reach))
    return largest_on_torus(grams, reach, sides, int(stack.shape[1]), squared, error)


def _family(
    keys: list[tuple[int, ...]], stack: torch.Tensor, sides: tuple[int, ...], squared: float, asked: int
) -> tuple[Matrices, float]:
    """Choose how to form the Gram matrices of a grid, and bound the l_2 error of each.

    Args:
        keys: the shifts q.
        stack: the kernels A_q, shape (taps, groups, rows, columns), rows <= columns.
        sides: of the grid of frequencies.
        squared: at least the square of sum_q ||A_q||_F.
        asked: about how many frequencies will be asked for.

    Returns:
        A function of frequencies that gives batches of their Gram matrices, to be called as often as needed, and the
        bound.
    """
    count, _, size, length = (int(n) for n in stack.shape)
    pairs = (count * count + 1) // 2 * length
    direct = asked * length * (4 + 2 * count / size)
    if pairs + 2 * asked * min(count * count, math.prod(sides)) <= direct:
        differences = _correlate(keys, stack, sides)
        terms = 4 * (count * length + 2 * len(differences) + 8)
        error = directed.mul(squared, directed.add(directed.gamma(terms), 4 * PHASE_ERROR))
        return lambda frequencies: _spectra(differences, frequencies, sides), error
    terms = 8 * (length + 2 * count + 8)
    error = directed.mul(squared, directed.add(directed.gamma(terms), 8 * PHASE_ERROR))
    return lambda frequencies: _grams(keys, stack, frequencies, sides), error


def _correlate(
    keys: list[tuple[int, ...]], stack: torch.Tensor, sides: tuple[int, ...]
) -> dict[tuple[int, ...], torch.Tensor]:
    """Sum A_q A_p^T by difference q - p modulo the sides, for one difference of each pair +-."""
    sums: dict[tuple[int, ...], torch.Tensor] = {}
    spans = [_span(kernel) for kernel in stack]
    for a, first in enumerate(keys):
        for b, second in enumerate(keys):
            difference = tuple((x - y) % n for x, y, n in zip(first, second, sides, strict=True))
            mirror = tuple(-d % n for d, n in zip(difference, sides, strict=True))
            start, end = max(spans[a][0], spans[b][0]), min(spans[a][1], spans[b][1])
            if difference > mirror or (start >= end and difference in sums):
                continue
            product = stack[a][..., start:end] @ stack[b][..., start:end].transpose(-1, -2)
            if difference in sums:
                sums[difference] += product
            else:
                sums[difference] = product
    return sums


def _span(kernel: torch.Tensor) -> tuple[int, int]:
    """Find the range of columns outside which a kernel is zero: branches stacked side by side do not meet."""
    present = torch.nonzero((kernel != 0).reshape(-1, kernel.shape[-1]).any(0))
    return (int(present[0]), int(present[-1]) + 1) if len(present) else (0, 0)


def _spectra(
    differences: dict[tuple[int, ...], torch.Tensor], frequencies: torch.Tensor, sides: tuple[int, ...]
) -> Iterator[torch.Tensor]:
    """Yield batches of Gram matrices sum_d (R_d exp(i<t, d>) + transposed conjugate)."""
    keys = list(differences)
    mirrored = [tuple(-d % n for d, n in zip(key, sides, strict=True)) == key for key in keys]
    even, odd = [], []
    for key, own in zip(keys, mirrored, strict=True):
        matrix = differences[key]
        even.append(matrix if own else matrix + matrix.transpose(-1, -2))
        odd.append(torch.zeros_like(matrix) if own else matrix - matrix.transpose(-1, -2))
    groups, size = int(even[0].shape[0]), int(even[0].shape[-1])
    even_rows = torch.stack(even).reshape(len(keys), -1)
    odd_rows = torch.stack(odd).reshape(len(keys), -1)
    batch = max(1, _CHUNK_ENTRIES // (groups * size * size))
    for start in range(0, len(frequencies), batch):
        turned = angles(keys, frequencies[start : start + batch], sides)
        real = (turned.cos() @ even_rows).reshape(-1, size, size)
        if size == 1 or all(mirrored):
            yield real
            continue
        yield torch.complex(real, (turned.sin() @ odd_rows).reshape(-1, size, size))


def _grams(
    keys: list[tuple[int, ...]], stack: torch.Tensor, frequencies: torch.Tensor, sides: tuple[int, ...]
) -> Iterator[torch.Tensor]:
    """Yield batches of Gram matrices H H* with the transfer matrices H formed first."""
    count, groups, size, length = (int(n) for n in stack.shape)
    rows = stack.reshape(count, -1)
    batch = max(1, _CHUNK_ENTRIES // (groups * size * max(size, length)))
    for start in range(0, len(frequencies), batch):
        turned = angles(keys, frequencies[start : start + batch], sides)
        transfer = torch.complex(turned.cos() @ rows, turned.sin() @ rows).reshape(-1, size, length)
        yield transfer @ transfer.mH

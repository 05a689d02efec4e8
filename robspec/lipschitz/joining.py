"""Sums and stacks of stencils that read the same input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from robspec.lipschitz import directed
from robspec.lipschitz.magnitude import underflow
from robspec.lipschitz.stencil import Stencil, densify, settled

_LARGEST_CHANNELS = 8192


def total(first: Stencil, second: Stencil, sign: float) -> Stencil | None:
    """Add two stencils of the same input and the same output shape.

    Args:
        first: a map.
        second: a map.
        sign: factor of the second map, +-1 or another exact scalar.

    Returns:
        first + sign * second, or None where the two do not share a stencil form.
    """
    first, second = settled(first), settled(second)
    frame = _frame([first, second])
    if frame is None or first.channels_out != second.channels_out:
        return None
    if first.kernels.shape[1:] != second.kernels.shape[1:]:
        full_first, full_second = densify(first), densify(second)
        if full_first is None or full_second is None:
            return None
        first, second = full_first, full_second
    taps: dict[tuple[int, ...], torch.Tensor] = dict(zip(first.offsets, first.kernels, strict=True))
    for offset, kernel in zip(second.offsets, second.kernels, strict=True):
        addend = kernel * sign
        taps[offset] = taps[offset] + addend if offset in taps else addend
    joined = replace(
        frame,
        kernels=torch.stack(list(taps.values())),
        offsets=tuple(taps),
        parts=first.parts + second.parts + 1,
    )
    rounding = directed.mul(3 * directed.UNIT, directed.add(first.mass, directed.mul(second.mass, abs(sign))))
    lost = 0.0 if abs(sign) == 1.0 else underflow(second.kernels.numel())
    slack = directed.add(first.slack, directed.mul(second.slack, abs(sign)), rounding, lost)
    return replace(joined, slack=slack)


def concatenate(stencils: Sequence[Stencil]) -> Stencil | None:
    """Stack the output channels of stencils of the same input.

    Returns:
        The stacked map, or None where the maps do not share a stencil form.
    """
    stencils = [settled(stencil) for stencil in stencils]
    frame = _frame(stencils)
    rows = sum(s.channels_out for s in stencils)
    if frame is None or rows > _LARGEST_CHANNELS:
        return None
    columns = frame.channels_in
    offsets = list(dict.fromkeys(offset for s in stencils for offset in s.offsets))
    if len(offsets) * rows * columns > 1 << 26:
        return None
    kernels = torch.zeros(len(offsets), 1, rows, columns, dtype=torch.float64)
    start = 0
    for stencil in stencils:
        full = densify(stencil)
        if full is None:
            return None
        for offset, kernel in zip(full.offsets, full.kernels, strict=True):
            kernels[offsets.index(offset), 0, start : start + full.channels_out] = kernel[0]
        start += full.channels_out
    return replace(
        frame,
        kernels=kernels,
        offsets=tuple(offsets),
        slack=directed.add(*(s.slack for s in stencils)),
        parts=sum(s.parts for s in stencils) + 1,
    )


def _frame(stencils: Sequence[Stencil]) -> Stencil | None:
    """Find the common frame of stencils of one input, None where there is none."""
    windows = [s for s in stencils if not s.pointwise]
    frame = windows[0] if windows else stencils[0]
    circular = list(frame.circular)
    for dim in range(frame.dims):
        wraps = {s.circular[dim] for s in stencils if not s.trivial_along(dim)}
        if len(wraps) > 1:
            return None
        if wraps:
            circular[dim] = wraps.pop()
    for stencil in stencils:
        same = (
            stencil.inputs == frame.inputs
            and stencil.outputs == frame.outputs
            and stencil.input_axes == frame.input_axes
            and stencil.output_axes == frame.output_axes
            and stencil.channels_in == frame.channels_in
        )
        if not same:
            return None
        if stencil.stride != frame.stride:
            return None
        if not stencil.pointwise and stencil.transposed != frame.transposed:
            return None
    return replace(frame, circular=tuple(circular))

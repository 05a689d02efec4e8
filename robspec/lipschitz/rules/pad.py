"""Padding as a node of its own: constant, circular, reflect, replicate; negative amounts crop."""

from __future__ import annotations

import torch
from torch.nn import functional

from robspec.lipschitz import directed
from robspec.lipschitz.call import Call
from robspec.lipschitz.stencil import Stencil
from robspec.lipschitz.values import Step, Value

_MODES = {
    "constant_pad_nd": "constant",
    "reflection_pad1d": "reflect",
    "reflection_pad2d": "reflect",
    "reflection_pad3d": "reflect",
    "replication_pad1d": "replicate",
    "replication_pad2d": "replicate",
    "replication_pad3d": "replicate",
    "_pad_circular": "circular",
}
OPERATIONS = ("pad", *_MODES)


def bound(call: Call) -> Step:
    """Bound a padding: a stencil for constant and circular, the duplication matrix for reflect and replicate.

    Raises:
        MixedBatch: the batch dimension is padded.

    Source: MATH.md section 5.
    """
    value = call.value("input" if "input" in call.arguments else "self")
    given = call.get("pad" if "pad" in call.arguments else "padding")
    amounts = [int(a) for a in given] if isinstance(given, list) else []
    mode = _MODES.get(call.name) or str(call.get("mode"))
    rank = len(value.shape)
    pairs = {rank - 1 - i: (amounts[2 * i], amounts[2 * i + 1]) for i in range(len(amounts) // 2)}
    touched = [axis for axis, pair in pairs.items() if pair != (0, 0)]
    if not touched:
        return call.same(value)
    call.passive(value, touched)
    if mode in ("reflect", "replicate"):
        most = 1
        for axis in touched:
            most *= _copies(value.shape[axis], pairs[axis], mode)
        return call.scaled(value, directed.root(most, call.norm))
    if mode not in ("constant", "circular"):
        raise call.refuse(f"unknown padding mode {mode}")
    return call.linear(value, _stencil(call, value, pairs, circular=mode == "circular"))


def _copies(side: int, pair: tuple[int, int], mode: str) -> int:
    """Count how often the most repeated entry of one line occurs after padding."""
    ramp = torch.arange(side, dtype=torch.float64).reshape(1, 1, side)
    padded = functional.pad(ramp, pair, mode=mode).to(torch.int64)
    return int(torch.bincount(padded.reshape(-1)).max())


def _stencil(call: Call, value: Value, pairs: dict[int, tuple[int, int]], *, circular: bool) -> Stencil:
    """Write a padding as the stencil with one shifted identity tap."""
    rank = len(value.shape)
    first = rank - len(pairs) - 1
    if value.axis is not None:
        first = max(first, value.axis + 1)
    if first < 0 or any(axis <= first and pair != (0, 0) for axis, pair in pairs.items()):
        first = 0 if value.axis is None else value.axis + 1
    axes = tuple(range(first, rank))
    if pairs.get(first, (0, 0)) != (0, 0) or (value.axis is not None and value.axis > 0):
        return _as_positions(call, value, pairs, circular=circular)
    inside = [pairs.get(axis, (0, 0)) for axis in axes[1:]]
    channels = value.shape[first]
    return Stencil(
        kernels=torch.ones(1, channels, 1, 1, dtype=torch.float64),
        offsets=(tuple(-left for left, _ in inside),),
        stride=(1,) * len(inside),
        inputs=value.shape[first + 1 :],
        outputs=call.shapes[0][first + 1 :],
        circular=tuple(circular and pair != (0, 0) for pair in inside),
        transposed=False,
        input_axes=axes,
        output_axes=axes,
        parts=0,
    )


def _as_positions(call: Call, value: Value, pairs: dict[int, tuple[int, int]], *, circular: bool) -> Stencil:
    """Treat every axis but the batch as a position, with a single pseudo-channel."""
    axes = tuple(axis for axis in range(len(value.shape)) if axis != value.axis)
    inside = [pairs.get(axis, (0, 0)) for axis in axes]
    return Stencil(
        kernels=torch.ones(1, 1, 1, 1, dtype=torch.float64),
        offsets=(tuple(-left for left, _ in inside),),
        stride=(1,) * len(axes),
        inputs=tuple(value.shape[axis] for axis in axes),
        outputs=tuple(call.shapes[0][axis] for axis in axes),
        circular=tuple(circular and pair != (0, 0) for pair in inside),
        transposed=False,
        input_axes=(-1, *axes),
        output_axes=(-1, *axes),
        parts=0,
    )

"""Reshaping, cutting, joining and repeating."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from robspec.models.onnx.call import Call, axes

_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def _reshape(call: Call) -> Tensor:
    data, asked = call.data(), call.numbers(1) or []
    zero = call.option("allowzero", 0)
    shape: list[Any] = []
    for i, side in enumerate(asked):
        shape.append(data.shape[i] if isinstance(side, int) and side == 0 and not zero else side)
    return data.reshape(shape)


def _flatten(call: Call) -> Tensor:
    data, axis = call.data(), call.option("axis", 1)
    axis = axis + data.dim() if axis < 0 else axis
    if axis == 1:
        return data.flatten(1)
    return (
        data.flatten(axis).flatten(0, axis - 1)
        if 1 < axis < data.dim()
        else data.reshape((1, -1) if axis == 0 else (-1, 1))
    )


def _transpose(call: Call) -> Tensor:
    data = call.data()
    order = call.option("perm", tuple(reversed(range(data.dim()))))
    return data.permute(order)


def _squeeze(call: Call) -> Tensor:
    data = call.data()
    found = call.numbers(1) if call.opset >= 13 else list(call.option("axes", (0,))) if call.given("axes") else None
    if found is None:
        found = [i for i, side in enumerate(data.shape) if i > 0 and side == 1]
    chosen = axes(found, data.dim())
    if any(data.shape[axis] != 1 for axis in chosen):
        raise call.refused("it takes away a side that is not 1")
    for axis in sorted(chosen, reverse=True):
        data = data.squeeze(axis)
    return data


def _unsqueeze(call: Call) -> Tensor:
    data = call.data()
    found = (call.numbers(1) or []) if call.opset >= 13 else list(call.option("axes", (0,)))
    for axis in sorted(axes(found, data.dim() + len(found))):
        data = data.unsqueeze(axis)
    return data


def _concat(call: Call) -> Tensor:
    return torch.cat(call.all_data(), dim=call.option("axis", 0))


def _split(call: Call) -> tuple[Tensor, ...]:
    data = call.data()
    axis = call.option("axis", 0) % data.dim()
    parts = call.option("num_outputs", len(call.node.outputs))
    found = call.numbers(1) if call.opset >= 13 else list(call.option("split", (0,))) if call.given("split") else None
    side = int(data.shape[axis])
    if found is None:
        each = -(-side // parts)
        found = [min(each, side - each * i) for i in range(parts)]
    if len(found) != len(call.node.outputs) or min(found) < 0:
        raise call.refused("its parts are not as many as its outputs")
    return torch.split(data, [int(part) for part in found], dim=axis)


def _slice(call: Call) -> Tensor:
    data = call.data()
    starts, ends = call.numbers(1) or [], call.numbers(2) or []
    chosen = axes(call.numbers(3) or list(range(len(starts))), data.dim())
    steps = call.numbers(4) or [1] * len(starts)
    for start, end, axis, step in zip(starts, ends, chosen, steps, strict=True):
        side = data.shape[axis]
        if step < 0:
            data = data.flip(axis)
            # The same places counted from the other end.
            start, end = _mirrored(int(start), int(side)), _mirrored(int(end), int(side))
            step = -step
        data = _cut(data, axis, start, end, step)
    return data


def _mirrored(place: int, side: int) -> int:
    place = place + side if place < 0 else place
    return min(max(side - 1 - place, 0), side)


def _cut(data: Tensor, axis: int, start: Any, end: Any, step: int) -> Tensor:
    result: Tensor = torch.ops.aten.slice.Tensor(
        data, axis, start, min(end, 2**62) if isinstance(end, int) else end, step
    )
    return result


def _gather(call: Call) -> Tensor:
    data = call.data()
    axis = call.option("axis", 0) % data.dim()
    held = call.constant(1)
    if held is None:
        raise call.refused("it has no places to take")
    side = int(data.shape[axis])
    places = held.astype(np.int64)
    if ((places < -side) | (places >= side)).any():
        raise call.refused("it takes places that are not there")
    places = np.where(places < 0, places + side, places)
    if places.ndim == 0:
        return data.select(axis, int(places))
    taken = data.index_select(axis, torch.tensor(places.reshape(-1).tolist()))
    return taken if places.ndim == 1 else taken.reshape([*data.shape[:axis], *places.shape, *data.shape[axis + 1 :]])


def _expand(call: Call) -> Tensor:
    data, asked = call.data(), call.numbers(1) or []
    rank = max(data.dim(), len(asked))
    asked = [1] * (rank - len(asked)) + list(asked)
    own = [1] * (rank - data.dim()) + list(data.shape)
    return data.expand(
        [mine if isinstance(side, int) and side == 1 else side for mine, side in zip(own, asked, strict=True)]
    )


def _tile(call: Call) -> Tensor:
    return call.data().repeat([int(n) for n in call.numbers(1) or []])


def _pad(call: Call) -> Tensor:
    data, asked = call.data(), [int(n) for n in call.numbers(1) or []]
    mode = call.option("mode", "constant")
    number = call.number(2, 0.0)
    chosen = axes(call.numbers(3) or list(range(data.dim())), data.dim())
    if mode not in _MODES or len(asked) != 2 * len(chosen):
        raise call.refused("its mode or its amounts are of no known kind")
    begins, ends = [0] * data.dim(), [0] * data.dim()
    for i, axis in enumerate(chosen):
        begins[axis], ends[axis] = asked[i], asked[i + len(chosen)]
    amounts = [n for pair in zip(reversed(begins), reversed(ends), strict=True) for n in pair]
    while len(amounts) > 2 and amounts[-2:] == [0, 0]:
        amounts = amounts[:-2]
    if mode == "constant":
        return functional.pad(data, amounts, value=float(number))
    sides = 2 * (data.dim() - 2)
    if len(amounts) > sides:
        raise call.refused("it repeats images or channels")
    if min(amounts) < 0:
        raise call.refused("it cuts off what it does not repeat")
    return functional.pad(data, amounts + [0] * (sides - len(amounts)), mode=_MODES[mode])


def _depth_to_space(call: Call) -> Tensor:
    data, side = call.data(), call.option("blocksize", 1)
    if call.option("mode", "DCR") == "CRD":
        return functional.pixel_shuffle(data, side)
    batch, channels, height, width = data.shape
    kept = channels // (side * side)
    cut = data.reshape(batch, side, side, kept, height, width).permute(0, 3, 4, 1, 5, 2)
    return cut.reshape(batch, kept, height * side, width * side)


def _space_to_depth(call: Call) -> Tensor:
    data, side = call.data(), call.option("blocksize", 1)
    batch, channels, height, width = data.shape
    cut = data.reshape(batch, channels, height // side, side, width // side, side).permute(0, 3, 5, 1, 2, 4)
    return cut.reshape(batch, channels * side * side, height // side, width // side)


def _one_hot(call: Call) -> Tensor:
    values = call.constant(2)
    if values is None or values.size != 2:
        raise call.refused("its two values are not constant")
    axis, depth = call.option("axis", -1), int(call.number(1))
    indices = call.data().to(torch.int64)
    place = axis % (indices.dim() + 1)
    steps = torch.arange(depth).reshape([-1] + [1] * (indices.dim() - place))
    # An index below 0 counts from the end; one outside is nowhere.
    there = indices.unsqueeze(place)
    hit = (there == steps) | (there + depth == steps)
    return torch.where(hit, values[1].item(), values[0].item()).to(torch.from_numpy(values).dtype)


OPERATORS = {
    "Concat": _concat,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "OneHot": _one_hot,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}

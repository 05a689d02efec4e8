"""Rearrangements that move, drop or repeat entries: read off by running the node on numbered entries."""

from __future__ import annotations

import math

import torch

from robspec.lipschitz import directed
from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step, Value

_LAST = {"pixel_shuffle": 3, "pixel_unshuffle": 3, "im2col": 3, "tril": 2, "triu": 2}
OPERATIONS = (
    "flip",
    "fliplr",
    "flipud",
    "roll",
    "rot90",
    "pixel_shuffle",
    "pixel_unshuffle",
    "channel_shuffle",
    "native_channel_shuffle",
    "index_select",
    "index",
    "gather",
    "take_along_dim",
    "unfold",
    "im2col",
    "diagonal",
    "tril",
    "triu",
    "masked_fill",
)


def bound(call: Call) -> Step:
    """Bound by m^(1/r), m how often the most repeated entry occurs; entries filled with a constant do not
    count.

    Raises:
        MixedBatch: an entry moves to another image, or images are treated differently.
        NoGlobalConstant: the positions depend on the image.

    Source: MATH.md section 5.
    """
    name = "self" if "self" in call.arguments else "input"
    value = call.value(name)
    for key, item in call.arguments.items():
        if key != name and (isinstance(item, Value) or (isinstance(item, list) and _any_value(item))):
            raise call.refuse(f"argument {key}, which says where entries go, depends on the image")
    call.passive(value, _touched(call, len(value.shape)))
    entries = math.prod(value.shape)
    shape = [side * call.batch if axis == value.axis else side for axis, side in enumerate(value.shape)]
    ramp = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64).reshape(shape)
    if value.axis is not None:
        blocks = ramp.new_zeros(shape)
        for image in range(call.batch):
            size = value.shape[value.axis]
            numbers = torch.arange(1, entries + 1, dtype=torch.float64).reshape(value.shape) + image * entries
            blocks.narrow(value.axis, image * size, size).copy_(numbers)
        ramp = blocks
    keywords = {key: call.get(key) for key in call.arguments if key != name}
    if call.name == "masked_fill":
        keywords["value"] = torch.zeros(()) if isinstance(keywords.get("value"), torch.Tensor) else 0.0
    moved = call.node.target(ramp, **keywords).to(torch.int64)  # type: ignore[operator]
    axis = _batch_axis(call, value, moved, entries)
    counts = torch.bincount(moved.reshape(-1), minlength=2)[1:]
    return call.scaled(value, directed.root(max(1, int(counts.max())), call.norm), axis=axis)


def _touched(call: Call, rank: int) -> tuple[int, ...]:
    """List the axes along which entries can move, whatever the batch size."""
    if call.name == "masked_fill":
        return ()
    if call.name == "index":
        listed = call.get("indices")
        return tuple(i for i, item in enumerate(listed) if item is not None) if isinstance(listed, list) else ()
    if call.name in _LAST:
        return tuple(range(max(0, rank - _LAST[call.name]), rank))
    if call.name in ("fliplr", "flipud", "channel_shuffle", "native_channel_shuffle"):
        return (0,) if call.name == "flipud" else (1,)
    names = ("dims", "dim", "dimension", "dim1", "dim2")
    given = [call.get(name) for name in names if name in call.arguments]
    listed = [axis for item in given for axis in (item if isinstance(item, list | tuple) else [item])]
    axes = [axis for axis in listed if isinstance(axis, int)]
    if not axes or len(axes) < len(listed):
        return tuple(range(rank))
    return tuple(axis % rank for axis in axes)


def _any_value(items: list[object]) -> bool:
    return any(isinstance(item, Value) for item in items)


def _batch_axis(call: Call, value: Value, moved: torch.Tensor, entries: int) -> int | None:
    """Find the output dimension along which each image keeps exactly its own entries, in the same
    arrangement."""
    if value.axis is None:
        return None
    for axis, side in enumerate(moved.shape):
        if side % call.batch or side == 0:
            continue
        parts = torch.split(moved, side // call.batch, dim=axis)
        first = parts[0]
        same = all(
            torch.equal(torch.where(part > 0, part - image * entries, part), first)
            for image, part in enumerate(parts)
        )
        if same and int(first.max()) <= entries:
            return axis
    raise call.mixes("entries move between the images of the batch")

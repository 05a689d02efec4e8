"""Selections of entries, each at most once: split, chunk, slice, select, narrow, unbind."""

from __future__ import annotations

import torch

from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Piece, Step, Value

OPERATIONS = ("split", "split_with_sizes", "chunk", "tensor_split", "slice", "narrow", "select", "unbind")


def bound(call: Call) -> Step | list[Step]:
    """Bound by 1, and remember which entries were taken, so that disjoint selections can be rejoined for
    free.

    Raises:
        MixedBatch: images of the batch are selected.
    """
    value = call.value("input" if "input" in call.arguments else "self")
    rank = len(value.shape)
    dim = call.integer("dim") % rank
    if call.name == "slice":
        taken = _sliced(call, value, dim)
        if value.axis == dim and taken == range(value.shape[dim]):
            return call.same(value)
    call.passive(value, [dim])
    if call.name == "slice":
        return _piece(call, value, dim, taken)
    if call.name == "narrow":
        start = call.integer("start")
        # Python's remainder would not do: a start may be the side itself.
        start += value.shape[dim] if start < 0 else 0
        return _piece(call, value, dim, range(start, start + call.integer("length")))
    if call.name == "select":
        index = call.integer("index") % value.shape[dim]
        return _piece(call, value, dim, range(index, index + 1), drops=True)
    if call.name == "unbind":
        return [_piece(call, value, dim, range(i, i + 1), drops=True) for i in range(value.shape[dim])]
    # Read off by running it: pieces of a tensor_split may overlap, or leave entries out.
    given = {key: call.get(key) for key in call.arguments if key not in ("self", "input", "dim")}
    parts = call.node.target(torch.arange(value.shape[dim]), **given)  # type: ignore[operator]
    return [_piece(call, value, dim, range(int(p[0]), int(p[-1]) + 1) if len(p) else range(0)) for p in parts]


def _sliced(call: Call, value: Value, dim: int) -> range:
    """Read the indices of a slice the way Python does."""
    side = value.shape[dim]
    if value.axis == dim:
        untouched = call.arguments.get("start") in (None, 0) and call.integer("step") == 1
        end = call.arguments.get("end")
        whole = end is None or (isinstance(end, int) and end >= 2**62)
        return range(side) if untouched and whole else range(0)
    start, end = call.get("start"), call.get("end")
    step = call.integer("step")
    bounds = slice(start, end, step) if isinstance(start, int | None) and isinstance(end, int | None) else None
    if bounds is None:
        raise call.refuse("the slice is not fixed")
    return range(side)[bounds]


def _piece(call: Call, value: Value, dim: int, taken: range, *, drops: bool = False) -> Step:
    """Select along one dimension; a selection of a selection is one of the first parent."""
    earlier = value.source.step.piece
    if earlier is None:
        every = tuple(range(len(value.shape)))
        earlier = Piece(value.source, tuple(range(side) for side in value.shape), every)
    region, axes = list(earlier.region), list(earlier.axes)
    region[axes[dim]] = region[axes[dim]][taken.start : max(taken.stop, 0) : taken.step]
    axis = value.axis
    if drops:
        del axes[dim]
        if axis is not None and axis > dim:
            axis -= 1
    step = call.scaled(value, 1.0, axis=axis)
    return call.selected(step, Piece(earlier.parent, tuple(region), tuple(axes)))

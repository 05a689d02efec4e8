"""Permutations of dimensions."""

from __future__ import annotations

from dataclasses import replace

from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step, View

OPERATIONS = ("permute", "transpose", "t", "swapaxes", "swapdims", "movedim", "moveaxis", "numpy_T", "mT")


def bound(call: Call) -> Step:
    """Bound by 1; batch axis and linear form move along."""
    value = call.value("self" if "self" in call.arguments else "input")
    order = _order(call, len(value.shape))
    axis = None if value.axis is None else order.index(value.axis)
    step = call.scaled(value, 1.0, axis=axis)
    view = value.source.step.view
    if view is None or value.source.step.piece is not None or min(view.stencil.output_axes) < 0:
        return step
    moved = tuple(order.index(a) for a in view.stencil.output_axes)
    stencil = replace(view.stencil, output_axes=moved)
    return replace(step, view=View(view.anchor, stencil, (*view.members, call.node.name)))


def _order(call: Call, rank: int) -> list[int]:
    """List, for each output dimension, the input dimension it comes from."""
    order = list(range(rank))
    if call.name == "permute":
        return [dim % rank for dim in call.integers("dims", rank)]
    if call.name in ("movedim", "moveaxis"):
        sources = [dim % rank for dim in call.integers("source", 1)]
        targets = [dim % rank for dim in call.integers("destination", 1)]
        rest = iter(dim for dim in order if dim not in sources)
        placed = dict(zip(targets, sources, strict=True))
        return [placed[dim] if dim in placed else next(rest) for dim in order]
    if call.name == "numpy_T":
        return order[::-1]
    if call.name in ("t", "mT"):
        first, second = (rank - 2, rank - 1) if rank >= 2 else (0, 0)
    else:
        names = ("dim0", "dim1") if "dim0" in call.arguments else ("axis0", "axis1")
        first, second = (call.integer(name) % rank for name in names)
    order[first], order[second] = order[second], order[first]
    return order

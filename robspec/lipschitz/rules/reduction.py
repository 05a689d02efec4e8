"""Extremes along dimensions: order statistics of disjoint groups."""

from __future__ import annotations

from dataclasses import replace

from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step

OPERATIONS = ("amax", "amin")


def bound(call: Call) -> Step:
    """Bound by 1 in every l_r: |max u - max v| <= max |u - v| on each group, and the groups are disjoint.

    Raises:
        MixedBatch: the extreme is taken over the images of a batch.
    """
    return reduce_extreme(call, call.name)


def reduce_extreme(call: Call, kind: str) -> Step:
    """Answer for an extreme of `self` over `dim` (all dimensions if absent)."""
    value = call.value("self")
    dims = call.dims("dim", len(value.shape))
    call.passive(value, dims)
    keeps = call.get("keepdim") is True
    step = call.scaled(value, 1.0, axis=call.axis_after(value, dims, keeps=keeps))
    return replace(step, pair=(kind, value, dims))

"""Concatenation and stacking, MaxMin recognised by structure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from robspec.lipschitz.branches import common_stack, joint
from robspec.lipschitz.call import Call, Constant
from robspec.lipschitz.householder import householder
from robspec.lipschitz.values import Step, Value

OPERATIONS = ("cat", "concat", "concatenate", "stack")
DATA = ("tensors",)


def bound(call: Call) -> Step:
    """Bound by the joint distance of the parts; a maximum beside its minimum counts as the pair they order.

    Raises:
        MixedBatch: images are concatenated along the batch.

    Source: MATH.md section 5.
    """
    parts = call.arguments.get("tensors")
    if not isinstance(parts, list):
        raise call.refuse("the parts are not a list")
    values = [part for part in parts if isinstance(part, Value)]
    if not all(isinstance(part, Value | Constant) for part in parts):
        raise call.refuse("a part is neither data nor a constant")
    rank = len(call.shapes[0])
    dim = call.integer("dim") % rank
    axis = call.merged_axis(values, aligned=True)
    if call.name == "stack" and axis is not None and axis >= dim:
        axis += 1
    elif axis == dim:
        raise call.mixes("images are concatenated along the batch dimension")
    if any(value.step.refusal is not None for value in values) and len(values) == len(parts):
        found = householder(call, values)
        if found is not None:
            return found
    ordered, rule = _ordered(values)

    def reach(anchor: Value) -> float:
        return joint(ordered, anchor, call.norm)

    step = call.step(ordered, reach, axis=axis, rule=rule or call.name)
    if call.name == "stack" or rule or len(values) < len(parts):
        return step
    return common_stack(call, step, values, dim)


def _ordered(values: Sequence[Value]) -> tuple[list[Value], str]:
    """Replace the maximum and minimum of a group by the group: ordering numbers never stretches distances."""
    rest = list(values)
    found: list[Value] = []
    for value in values:
        partner = next((other for other in rest if _completes(value, other)), None)
        if value in rest and partner is not None:
            rest.remove(value)
            rest.remove(partner)
            found += [v for v in (value.step.pair or ())[1:3] if isinstance(v, Value)]
    return found + rest, "MaxMin" if found else ""


def _completes(value: Value, other: Value) -> bool:
    """Whether two values are the maximum and the minimum of one group of at least two entries."""
    top, low = value.step.pair, other.step.pair
    if top is None or low is None or value is other:
        return False
    if (top[0], low[0]) == ("max", "min"):
        return {top[1], top[2]} == {low[1], low[2]} and top[1] is not top[2]
    if (top[0], low[0]) != ("amax", "amin") or top[1] is not low[1] or top[2] != low[2]:
        return False
    group, dims = top[1], top[2]
    if not isinstance(group, Value) or not isinstance(dims, tuple):
        return False
    return math.prod(group.shape[dim] for dim in dims) >= 2

"""Concatenation and stacking, MaxMin recognised by structure."""

from __future__ import annotations

from collections.abc import Sequence

from robspec.lipschitz.branches import common_stack, joint
from robspec.lipschitz.call import Call, Constant
from robspec.lipschitz.values import Step, Value

OPERATIONS = ("cat", "concat", "concatenate", "stack")


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
    dim = call.integer("dim", 0) % rank
    axis = call.merged_axis(values, aligned=True)
    if call.name == "stack" and axis is not None and axis >= dim:
        axis += 1
    elif axis == dim:
        raise call.mixes("images are concatenated along the batch dimension")
    ordered, rule = _ordered(values)

    def reach(anchor: Value) -> float:
        return joint(ordered, anchor, call.norm)

    step = call.step(ordered, reach, axis=axis, rule=rule or call.name)
    if call.name == "stack" or rule or len(values) < len(parts):
        return step
    return common_stack(call, step, values, dim)


def _ordered(values: Sequence[Value]) -> tuple[list[Value], str]:
    """Replace each maximum and minimum of the same pair by the pair: ordering two numbers never stretches."""
    rest = list(values)
    found: list[Value] = []
    rule = ""
    for value in values:
        if value not in rest or value.step.pair is None or value.step.pair[0] != "max":
            continue
        _, left, right = value.step.pair
        for other in rest:
            pair = other.step.pair
            if (
                pair is not None
                and pair[0] == "min"
                and {pair[1], pair[2]} == {left, right}
                and left is not right
            ):
                rest.remove(value)
                rest.remove(other)
                found += [v for v in (left, right) if isinstance(v, Value)]
                rule = "MaxMin"
                break
    return found + rest, rule

"""Entrywise choice between two tensors by a constant mask."""

from __future__ import annotations

from robspec.lipschitz import directed
from robspec.lipschitz.branches import joint
from robspec.lipschitz.call import Call
from robspec.lipschitz.shapes import copies
from robspec.lipschitz.values import Step, Value

OPERATIONS = ("where",)
DATA = ("self", "other", "condition")


def bound(call: Call) -> Step:
    """Bound by the joint distance of the two tensors: each output entry is an entry of one of them.

    Raises:
        NoGlobalConstant: the mask depends on the image, so the result jumps where the mask switches.
    """
    if isinstance(call.arguments.get("condition"), Value):
        raise call.refuse(
            "a choice whose mask depends on the image jumps where the mask switches",
            "use maximum, minimum or clamp",
        )
    values = [v for v in (call.arguments.get("self"), call.arguments.get("other")) if isinstance(v, Value)]
    gain = directed.root(max(copies(call, v) for v in values), call.norm)

    def reach(anchor: Value) -> float:
        return directed.mul(gain, joint(values, anchor, call.norm))

    return call.step(values, reach, axis=call.merged_axis(values))

"""Entrywise maximum and minimum of two tensors, one of which may be constant."""

from __future__ import annotations

from dataclasses import replace

from robspec.lipschitz import directed
from robspec.lipschitz.branches import joint
from robspec.lipschitz.call import Call
from robspec.lipschitz.shapes import copies
from robspec.lipschitz.values import Step, Value

OPERATIONS = ("maximum", "minimum", "fmax", "fmin")
DATA = ("self", "other")


def bound(call: Call) -> Step:
    """Bound max(a, b) or min(a, b) by the joint distance of a and b: the entrywise change is at most the
    larger one.

    Source: MATH.md section 5.
    """
    return extreme(call, "max" if "max" in call.name else "min")


def extreme(call: Call, kind: str) -> Step:
    """Answer for an entrywise extreme of `self` and `other`."""
    left, right = call.arguments.get("self"), call.arguments.get("other")
    values = [v for v in (left, right) if isinstance(v, Value)]
    repeats = max(copies(call, v) for v in values)
    gain = directed.root(repeats, call.norm)
    if len(values) == 1:
        return call.scaled(values[0], gain, axis=call.broadcast_axis(values[0]))

    def reach(anchor: Value) -> float:
        return directed.mul(gain, joint(values, anchor, call.norm))

    step = call.step(values, reach, axis=call.merged_axis(values))
    return replace(step, pair=(kind, *values)) if repeats == 1 else step

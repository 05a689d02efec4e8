"""The overloaded max and min: of two tensors entry by entry, along a dimension, or over everything."""

from __future__ import annotations

from robspec.lipschitz.call import Call
from robspec.lipschitz.rules.extremes import extreme
from robspec.lipschitz.rules.reduction import reduce_extreme
from robspec.lipschitz.values import Step

OPERATIONS = ("max", "min")
DATA = ("self", "other")


def bound(call: Call) -> Step | list[Step | None]:
    """Send each overload to its own rule; indices are not data."""
    if "other" in call.arguments:
        return extreme(call, call.name)
    step = reduce_extreme(call, "a" + call.name)
    return step if len(call.shapes) == 1 else [step, None]

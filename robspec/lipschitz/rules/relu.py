"""Rectifiers with slopes 0 and 1."""

from __future__ import annotations

from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step

OPERATIONS = ("relu", "relu6")


def bound(call: Call) -> Step:
    """Bound by 1; a sum of squares passes through relu unchanged.

    Source: MATH.md section 5.
    """
    value = call.value("self")
    if value.step.squares is not None and call.name == "relu":
        return call.squares(value.step.squares.terms, value.axis)
    return call.entrywise(1.0, monotone=True)

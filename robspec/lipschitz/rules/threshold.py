"""Soft shrinkage, and thresholding that does not jump."""

from __future__ import annotations

from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step

OPERATIONS = ("threshold", "softshrink")


def bound(call: Call) -> Step:
    """Bound soft shrinkage by 1, and threshold(x, t, v) by 1 where v = t.

    Raises:
        NoGlobalConstant: the function jumps at its threshold.
    """
    if call.name == "softshrink":
        if call.number("lambd") < 0:
            raise call.refuse("softshrink with a negative lambda jumps", "use lambda >= 0", jumps=True)
        return call.entrywise(1.0, monotone=True)
    if call.number("threshold") != call.number("value"):
        raise call.refuse("threshold(x, t, v) with v != t jumps at t", "use v = t, or a clamp", jumps=True)
    return call.entrywise(1.0, monotone=True)

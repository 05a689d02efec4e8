"""The piecewise quadratic x relu6(x + 3) / 6."""

from __future__ import annotations

from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step

OPERATIONS = ("hardswish",)


def bound(call: Call) -> Step:
    """Bound by the slope at 3 from below, 3/2.

    Source: MATH.md section 5.
    """
    return call.entrywise(1.5)

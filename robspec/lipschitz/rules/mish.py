"""The Mish activation x tanh(softplus(x))."""

from __future__ import annotations

from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step

OPERATIONS = ("mish",)
GAIN = 1.088500


def bound(call: Call) -> Step:
    """Bound by the largest slope, rounded up.

    Source: MATH.md section 5.
    """
    return call.entrywise(GAIN)

"""The sigmoid linear unit x sigmoid(x)."""

from __future__ import annotations

from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step

OPERATIONS = ("silu",)
GAIN = 1.099840


def bound(call: Call) -> Step:
    """Bound by the largest slope 1.0998393..., rounded up.

    Source: MATH.md section 5.
    """
    return call.entrywise(GAIN)

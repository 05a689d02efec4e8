"""Smooth monotone squashing functions with slopes in (0, 1]."""

from __future__ import annotations

from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step

OPERATIONS = ("tanh", "atan", "arctan", "asinh", "arcsinh")


def bound(call: Call) -> Step:
    """Bound by 1.

    Source: MATH.md section 5.
    """
    return call.entrywise(1.0, monotone=True)

"""The Gaussian error linear unit, exact and tanh-approximated."""

from __future__ import annotations

from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step

OPERATIONS = ("gelu",)
EXACT = 1.128905
TANH = 1.128995


def bound(call: Call) -> Step:
    """Bound by the largest slope, 1.1289044... (exact form) or 1.128994... (tanh form), rounded up.

    Source: MATH.md section 5.
    """
    return call.entrywise(TANH if call.get("approximate") == "tanh" else EXACT)

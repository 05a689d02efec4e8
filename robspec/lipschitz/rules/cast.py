"""Casts and copies: exact for the same or a wider floating-point type; back to the image's own type one rounding.

What a graph computes more precisely than its images are stored may be stored again as they are: over the reals
nothing happens, and the rounding is that of any operation in that type. Other casts are refused.
"""

from __future__ import annotations

import torch

from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step

OPERATIONS = (
    "to",
    "_to_copy",
    "type_as",
    "clone",
    "contiguous",
    "detach",
    "alias",
    "lift_fresh",
    "lift_fresh_copy",
    "positive",
)
DATA = ("self", "input", "other")  # of the other, type_as and to read the element type alone
_WIDTH = {torch.bfloat16: 8, torch.float16: 11, torch.float32: 24, torch.float64: 53}


def bound(call: Call) -> Step:
    """Answer the value itself where no entry can change.

    Raises:
        NoGlobalConstant: the cast rounds data, or makes integers of it.
    """
    value = call.value("input" if "input" in call.arguments else "self")
    source, target = value.dtype, call.dtypes[0]
    widens = source in _WIDTH and target in _WIDTH and _WIDTH[source] <= _WIDTH[target]
    loses_range = (source, target) == (torch.bfloat16, torch.float16)
    stored = source in _WIDTH and target == call.own and _WIDTH.get(target, 0) >= _WIDTH[torch.float32]
    if source != target and (not widens or loses_range) and not stored:
        raise call.refuse(
            f"data is cast from {source} to {target}; rounding is a step function, not a Lipschitz one",
            "feed images in the model's own element type and keep it throughout",
            jumps=not target.is_floating_point,
        )
    return call.same(value)

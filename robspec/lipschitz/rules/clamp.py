"""Clamping to fixed limits."""

from __future__ import annotations

from dataclasses import replace

from robspec.lipschitz import directed
from robspec.lipschitz.call import Call
from robspec.lipschitz.shapes import copies
from robspec.lipschitz.values import Step, Value

OPERATIONS = ("clamp", "clip", "clamp_min", "clamp_max", "hardtanh")
DATA = ("self", "min", "max")


def bound(call: Call) -> Step:
    """Bound by 1, times m^(1/r) where limits of a larger shape repeat the data.

    Raises:
        NoGlobalConstant: a limit depends on the image (write maximum or minimum of two tensors instead).

    Source: MATH.md section 5.
    """
    value = call.value("self")
    for limit in ("min", "max", "min_val", "max_val"):
        if isinstance(call.arguments.get(limit), Value):
            raise call.refuse(f"the limit {limit} depends on the image", "use torch.maximum or torch.minimum")
    repeats = copies(call, value)
    step = call.scaled(value, directed.root(repeats, call.norm), axis=call.broadcast_axis(value))
    return replace(step, monotone=repeats == 1 and len(call.shapes[0]) == len(value.shape))

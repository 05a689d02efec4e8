"""Rectifiers with a slope of their own for negative entries, fixed or learnt."""

from __future__ import annotations

from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step

OPERATIONS = ("leaky_relu", "prelu", "_prelu_kernel", "rrelu")


def bound(call: Call) -> Step:
    """Bound by max(1, |s|), s the largest slope for negative entries.

    Raises:
        UnsuitableProgram: a randomised slope in training mode.

    Source: MATH.md section 5.
    """
    if call.name in ("prelu", "_prelu_kernel"):
        slopes = call.weight("weight")
        value = call.value("self")
        if call.name == "prelu" and slopes.numel() > 1 and len(value.shape) > 1:
            call.passive(value, [1])
        low, size = float(slopes.min()), float(slopes.abs().max())
    elif call.name == "rrelu":
        if call.get("training") is True:
            raise call.unsuitable("rrelu draws random slopes in training mode", "call model.eval() before the export")
        low = min(call.number("lower"), call.number("upper"))
        size = max(call.size("lower"), call.size("upper"))
    else:
        low, size = call.number("negative_slope"), call.size("negative_slope")
    return call.entrywise(max(1.0, size), monotone=low >= 0.0 and size <= 1.0)

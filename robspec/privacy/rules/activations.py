"""Functions of single entries that are 0 at 0, or as much as is said here."""

from __future__ import annotations

import math

from robspec.lipschitz import directed
from robspec.privacy.asked import Asked, Effect, Share

OPERATIONS = (
    *("relu", "relu6", "leaky_relu", "prelu", "_prelu_kernel", "abs", "absolute", "tanh", "elu", "gelu", "silu"),
    *("sigmoid", "clamp", "clip", "clamp_min", "clamp_max", "hardtanh"),
)
_CLAMPS = {"clamp": ("min", "max"), "clip": ("min", "max"), "clamp_min": ("min",), "clamp_max": ("max",)}


def effect(asked: Asked) -> Effect:
    """Bound by the largest slope; at kinks automatic differentiation gives one of both slopes, or one between.

    The gradient of trained slopes is at most G X: entries are multiplied by the input or by 0, and summed by channel.
    """
    source = asked.source
    parameter = asked.parameter("weight")
    if parameter:
        gain = asked.gain() if asked.envelope is None else max(1.0, asked.envelope.operator)
        size = asked.sizes[source]
        return Effect(((source, gain),), directed.mul(gain, size), (Share(parameter, size, "X"),))
    shift = _at_zero(asked)
    return asked.one(asked.gain(), directed.mul(shift, directed.sqrt(float(asked.entries))))


def _at_zero(asked: Asked) -> float:
    """Bound the size of the function's value at 0."""
    call = asked.call
    if call.name == "sigmoid":
        return 0.5
    if call.name in _CLAMPS or call.name == "hardtanh":
        names = _CLAMPS.get(call.name, ("min_val", "max_val"))
        bounds = {name: call.get(name) for name in names}
        if any(b is not None and not isinstance(b, int | float) for b in bounds.values()):
            raise asked.refuse("its limits are not fixed numbers")
        default = 1.0 if call.name == "hardtanh" else math.inf
        low = bounds.get("min", bounds.get("min_val", -default))
        high = bounds.get("max", bounds.get("max_val", default))
        return max(0.0, float(low) if isinstance(low, int | float) else 0.0) + max(
            0.0, -float(high) if isinstance(high, int | float) else 0.0
        )
    return 0.0

"""Exponential linear units."""

from __future__ import annotations

import math

from robspec.lipschitz import directed
from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step

OPERATIONS = ("elu", "celu", "selu")
_SELU_ALPHA = 1.6732632423543773
_SELU_SCALE = 1.0507009873554805


def bound(call: Call) -> Step:
    """Bound elu(x) = scale * (x or alpha (exp(input_scale x) - 1)) by scale * max(1, |alpha| input_scale).

    Source: MATH.md section 5.
    """
    if call.name == "selu":
        above = math.nextafter(_SELU_ALPHA, 2.0)
        return call.entrywise(directed.mul(above, math.nextafter(_SELU_SCALE, 2.0)))
    alpha = call.number("alpha")
    if call.name == "celu":
        if alpha <= 0:
            raise call.refuse("celu with alpha <= 0 has unbounded slope", "use alpha > 0")
        return call.entrywise(1.0, monotone=True)
    if call.number("input_scale") < 0:
        raise call.refuse("elu with a negative input scale has unbounded slope", "use a positive input scale")
    left = directed.mul(call.size("alpha"), call.size("input_scale"))
    gain = directed.mul(call.size("scale"), max(1.0, left))
    return call.entrywise(gain, monotone=call.number("scale") == 1.0 and alpha >= 0 and left <= 1.0)

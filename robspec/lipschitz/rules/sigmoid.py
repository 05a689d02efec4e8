"""The logistic function and its relatives."""

from __future__ import annotations

from fractions import Fraction

from robspec.lipschitz import directed
from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step

_GAINS = {"sigmoid": 0.25, "hardsigmoid": directed.ceil_float(Fraction(1, 6)), "log_sigmoid": 1.0}
OPERATIONS = (*_GAINS, "log_sigmoid_forward")


def bound(call: Call) -> Step | list[Step | None]:
    """Bound the sigmoid by 1/4, its piecewise linear form by 1/6, its logarithm by 1.

    Source: MATH.md section 5.
    """
    step = call.entrywise(_GAINS.get(call.name, 1.0), monotone=True)
    return step if len(call.shapes) == 1 else [step, None]

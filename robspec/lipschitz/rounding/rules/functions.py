"""Functions of one number: bounds of their error in units of the last place, several times what was ever seen.

What the libraries of elementary functions guarantee is not written down; the figures are assumptions, several times
the largest errors that are found: `python -m benchmarks.elementary` says how many.
"""

from __future__ import annotations

import math

from robspec.lipschitz import directed
from robspec.lipschitz.rounding.charge import ASSUMPTION, Asked, Charge

_RELATIVE = {
    "tanh": 4,
    "silu": 10,
    "mish": 12,
    "gelu": 20,
    "hardswish": 9,
    "sin": 5,
    "erf": 5,
    "atan": 6,
    "arctan": 6,
    "asinh": 16,
    "arcsinh": 16,
    "leaky_relu": 4,
    "prelu": 4,
    "_prelu_kernel": 4,
    "rrelu": 4,
}
"""Errors in units of u |x|, where the function is at most |x|, or of u gain |x|."""
_ABSOLUTE = {"sigmoid": 10, "hardsigmoid": 5, "cos": 5}
"""Errors in units of u."""
OPERATIONS = (
    *_RELATIVE,
    *_ABSOLUTE,
    *("elu", "celu", "selu", "softplus", "log_sigmoid", "log_sigmoid_forward", "softshrink"),
)


def charge(asked: Asked) -> Charge:
    """Bound the error of each entry by its size, by 1, or by both."""
    name, unit, gain = asked.call.name, asked.precision.unit, asked.gain()
    what = f"{name}{ASSUMPTION}"
    if name in _RELATIVE:
        size = directed.mul(_RELATIVE[name] * unit, max(gain, 1.0))
        return asked.one(size, asked.everywhere(4.0 * asked.precision.tiny), what)
    if name in _ABSOLUTE:
        return asked.one(0.0, asked.everywhere(_ABSOLUTE[name] * unit), what)
    if name in ("log_sigmoid", "log_sigmoid_forward"):
        return asked.one(9.0 * unit, asked.everywhere(9.0 * unit), what)
    if name == "softshrink":
        return asked.one(2.0 * unit, asked.everywhere(2.0 * unit * asked.call.size("lambd")), "one difference")
    if name == "softplus":
        return _softplus(asked, what)
    # alpha (exp(x / alpha) - 1) below 0 cancels near 0: an error of alpha u, whatever x is.
    reach = max(asked.call.size("alpha"), 1.0, gain) if name != "selu" else 1.76
    return asked.one(
        directed.mul(9.0 * unit, max(gain, 1.0)), asked.everywhere(directed.mul(9.0 * unit, reach, reach)), what
    )


def _softplus(asked: Asked, what: str) -> Charge:
    """Add what is lost where the line takes the place of the curve, at most exp(-threshold) / beta."""
    beta, threshold = asked.call.number("beta"), asked.call.number("threshold")
    if beta <= 0:
        raise asked.refuse("its beta is not positive")
    jump = directed.div(math.exp(min(-threshold, 700.0)) * (1.0 + 1e-9), beta)
    unit = 9.0 * asked.precision.unit
    each = directed.add(jump, directed.div(unit, beta), unit)
    return asked.one(unit, asked.everywhere(each), what)

"""The softmax, its logarithm, and the logarithm of a sum of exponentials."""

from __future__ import annotations

import math

from robspec.lipschitz import directed
from robspec.lipschitz.rounding.charge import ASSUMPTION, Asked, Charge

OPERATIONS = ("softmax", "_softmax", "_safe_softmax", "log_softmax", "_log_softmax", "logsumexp")


def charge(asked: Asked) -> Charge:
    """Bound the error by what differences from the maximum lose, which the exponential turns into relative errors."""
    call, shape = asked.call, asked.source.shape
    width = math.prod(shape[dim] for dim in call.dims("dim", len(shape)))
    unit, entries = asked.precision.unit, math.prod(shape)
    # Each difference from the maximum is off by u (|x| + |max|); the maximum of a row counts once for every entry.
    differences = directed.mul(4.0 * unit, directed.add(1.0, directed.sqrt(float(width))))
    each = directed.mul((float(width) + 20.0) * unit, directed.add(1.0, math.log(width + 1) * (1.0 + 1e-9)))
    rows = directed.sqrt(directed.div(float(entries), float(width)))
    if "log" in call.name:
        return asked.one(directed.mul(2.0, differences), asked.everywhere(each), f"{call.name}{ASSUMPTION}")
    # Of probabilities, whose l2 norm is at most 1 in every row.
    return asked.one(differences, directed.mul(each, rows), f"{call.name}{ASSUMPTION}")

"""Norms of groups of entries."""

from __future__ import annotations

import math

from robspec.lipschitz import directed
from robspec.lipschitz.rounding.charge import Asked, Charge

OPERATIONS = ("linalg_vector_norm", "norm")


def charge(asked: Asked) -> Charge:
    """Bound the error by gamma_(n + 8) of the result; of norms of order 1, 2 and infinity alone.

    Raises:
        NoRoundingRule: another order, whose powers have no bound.
    """
    call, shape = asked.call, asked.source.shape
    order = call.get("ord" if "ord" in call.arguments else "p")
    if order not in (None, 1, 2, math.inf):
        raise asked.refuse(f"a norm of order {order} takes powers")
    count = math.prod(shape[dim] for dim in call.dims("dim", len(shape)))
    # Squares below the smallest number vanish: an error of its root for each entry.
    lost = 0.0 if order in (1, math.inf) else math.sqrt(asked.precision.tiny) * 2.0
    gain = asked.gain()
    return asked.one(
        directed.mul(asked.precision.gamma(count + 8), gain),
        asked.everywhere(directed.mul(lost, directed.sqrt(float(count)))),
        f"{count} terms a sum",
    )

"""Norms of groups of entries, as used by norm pooling."""

from __future__ import annotations

import math
from fractions import Fraction

from robspec.lipschitz import directed
from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step

OPERATIONS = ("linalg_vector_norm", "norm")


def bound(call: Call) -> Step:
    """Bound the l_p norm of groups of g entries by g^max(0, 1/p - 1/r): the triangle inequality, then
    Hoelder.

    Raises:
        NoGlobalConstant: p < 1.
        MixedBatch: a group spans the images of a batch.
    """
    value = call.value("self")
    if call.dtypes[0] != value.dtype:
        raise call.refuse("the norm casts its input to another element type", "drop the dtype argument")
    order = call.get("ord" if "ord" in call.arguments else "p")
    if order is None:
        order = 2
    if not isinstance(order, int | float) or order < 1:
        raise call.refuse(f"a norm of order {order} is not a norm", "use an order of at least 1")
    dims = call.dims("dim", len(value.shape))
    call.passive(value, dims)
    group = math.prod(value.shape[dim] for dim in dims)
    own = Fraction(0) if math.isinf(order) else 1 / Fraction(order)
    gain = directed.power(float(group), max(Fraction(0), own - directed.inverse(call.norm)))
    return call.scaled(value, gain, axis=call.axis_after(value, dims, keeps=call.get("keepdim") is True))

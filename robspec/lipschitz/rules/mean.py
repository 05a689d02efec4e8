"""Means and sums over whole dimensions."""

from __future__ import annotations

import math

from robspec.lipschitz import directed
from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step

OPERATIONS = ("mean", "sum")


def bound(call: Call) -> Step:
    """Bound the mean of n entries by n^(-1/r) and their sum by n^(1 - 1/r): exact by Hoelder.

    Raises:
        MixedBatch: the images of a batch are averaged.

    Source: MATH.md section 5.
    """
    value = call.value("self")
    if call.dtypes[0] != value.dtype:
        raise call.refuse("the reduction casts its input to another element type", "drop the dtype argument")
    dims = call.dims("dim", len(value.shape))
    call.passive(value, dims)
    count = math.prod(value.shape[dim] for dim in dims)
    if count == 0:
        raise call.refuse("the reduction runs over no entries")
    axis = call.axis_after(value, dims, keeps=call.get("keepdim") is True)
    inverse = directed.inverse(call.norm)
    summed = directed.power(float(count), 1 - inverse)
    averages = call.name == "mean"
    if value.step.squares is not None:
        weight = directed.div(1.0, float(count)) if averages else 1.0
        half = directed.sqrt(weight)
        rows = directed.mul(weight, float(count))
        return call.squares(
            tuple(
                (u, directed.mul(a, weight), directed.mul(b, rows), directed.mul(c, half))
                for u, a, b, c in value.step.squares.terms
            ),
            axis,
        )
    return call.scaled(value, directed.div(summed, float(count)) if averages else summed, axis=axis)

"""Repetition of entries: expand, repeat, tile."""

from __future__ import annotations

import math

from robspec.lipschitz import directed
from robspec.lipschitz.call import Call
from robspec.lipschitz.shapes import copies
from robspec.lipschitz.values import Step, Value

OPERATIONS = ("expand", "expand_as", "broadcast_to", "repeat", "tile", "repeat_interleave")
DATA = ("self", "other")  # of the other, expand_as reads the shape alone


def bound(call: Call) -> Step:
    """Bound by m^(1/r), m the number of copies of each entry.

    Raises:
        MixedBatch: whole images are repeated along the batch.

    Source: MATH.md section 5.
    """
    other = call.arguments.get("other")
    if isinstance(other, Value) and not isinstance(call.arguments.get("self"), Value):
        call.get("self")  # refused where its numbers depend on the size of the batch
        return call.unmoved(other)
    value = call.value("self")
    if call.name in ("expand", "expand_as", "broadcast_to"):
        return call.scaled(value, directed.root(copies(call, value), call.norm), axis=call.broadcast_axis(value))
    if call.name == "repeat_interleave":
        dim = call.get("dim")
        if not isinstance(dim, int):
            raise call.refuse("repeat_interleave over the flattened tensor", "name the dimension")
        call.passive(value, [dim % len(value.shape)])
        return call.scaled(value, directed.root(call.integer("repeats"), call.norm))
    return _repeated(call, value)


def _repeated(call: Call, value: Value) -> Step:
    output = call.shapes[0]
    axis = call.broadcast_axis(value)
    if axis is not None and value.axis is not None and output[axis] != value.shape[value.axis] * call.batch:
        raise call.mixes("whole images are repeated along the batch dimension")
    entries = math.prod(value.shape) * (call.batch if value.axis is not None else 1)
    return call.scaled(value, directed.root(math.prod(output) // entries, call.norm), axis=axis)

"""Views that keep the order of entries in memory."""

from __future__ import annotations

import math

from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step, Value

OPERATIONS = (
    "view",
    "_unsafe_view",
    "reshape",
    "flatten",
    "unflatten",
    "squeeze",
    "unsqueeze",
    "view_as",
    "reshape_as",
    "ravel",
)
DATA = ("self", "input", "other")  # of the other, view_as and reshape_as read the shape alone


def bound(call: Call) -> Step:
    """Bound by 1, following the batch: it stays whole where the dimensions before it keep their product.

    Raises:
        MixedBatch: entries of different images end up in one place of the batch dimension.
    """
    other = call.arguments.get("other")
    if isinstance(other, Value) and not isinstance(call.arguments.get("self"), Value):
        call.get("self")  # refused where its numbers depend on the size of the batch
        return call.unmoved(other)
    value = call.value("input" if "input" in call.arguments else "self")
    if call.dtypes[0] != value.dtype:
        raise call.refuse("the view reads the data's bits as another element type")
    output = call.shapes[0]
    full = tuple(side * call.batch if axis == value.axis else side for axis, side in enumerate(value.shape))
    if output == full:
        return call.same(value)
    if call.name == "unsqueeze":
        dim = call.integer("dim") % len(output)
        moved = value.axis + 1 if value.axis is not None and dim <= value.axis else value.axis
        return call.scaled(value, 1.0, axis=moved)
    return call.scaled(value, 1.0, axis=_follow(call, value, full, output))


def _follow(call: Call, value: Value, full: tuple[int, ...], output: tuple[int, ...]) -> int | None:
    """Find the output dimension that starts where the batch dimension starts and holds whole images."""
    if value.axis is None:
        return None
    before = math.prod(full[: value.axis])
    for axis, side in enumerate(output):
        if math.prod(output[:axis]) == before and side % call.batch == 0 and side > 0:
            return axis
    raise call.mixes("the reshape does not keep the images of the batch apart")

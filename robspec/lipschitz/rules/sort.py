"""Sorting and order statistics: GroupSort of any group size."""

from __future__ import annotations

from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step

OPERATIONS = ("sort", "msort", "topk", "kthvalue")


def bound(call: Call) -> Step | list[Step | None]:
    """Bound by 1 in every l_r: sorting two vectors brings them no further apart; a selection of the result
    keeps that.

    Raises:
        MixedBatch: the images of a batch are sorted.

    Source: MATH.md section 5.
    """
    value = call.value("self")
    rank = len(value.shape)
    dim = 0 if call.name == "msort" else call.integer("dim") % rank
    call.passive(value, [dim])
    keeps = call.name != "kthvalue" or call.get("keepdim") is True
    step = call.scaled(value, 1.0, axis=call.axis_after(value, [dim], keeps=keeps))
    return step if len(call.shapes) == 1 else [step, None]

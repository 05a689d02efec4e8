"""The softmax along one dimension."""

from __future__ import annotations

from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step

OPERATIONS = ("softmax", "_softmax", "_safe_softmax")


def bound(call: Call) -> Step:
    """Bound by 1/2 in every l_r: the Jacobian diag(p) - p p' has row and column sums 2 p (1 - p) <= 1/2.

    Raises:
        MixedBatch: the softmax runs over the images of a batch.

    Source: MATH.md section 5.
    """
    value = call.value("input" if "input" in call.arguments else "self")
    if call.dtypes[0] != value.dtype:
        raise call.refuse("softmax casts its input to another element type", "drop the dtype argument")
    call.passive(value, call.dims("dim", len(value.shape)))
    return call.scaled(value, 0.5)

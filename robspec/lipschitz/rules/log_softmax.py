"""The logarithm of the softmax, and the log of a sum of exponentials."""

from __future__ import annotations

from robspec.lipschitz import directed
from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step

OPERATIONS = ("log_softmax", "_log_softmax", "logsumexp")


def bound(call: Call) -> Step:
    """Bound log_softmax over K entries by sqrt(K) in l_2, 2 in l_infinity, max(1, K - 1) in l_1; logsumexp by
    1.

    The Jacobian I - 1 p' is an oblique projector of l_2 norm sqrt(K) |p|_2 <= sqrt(K); the gradient of
    logsumexp is p itself.

    Raises:
        MixedBatch: the sum runs over the images of a batch.
    """
    value = call.value("input" if "input" in call.arguments else "self")
    if call.dtypes[0] != value.dtype:
        raise call.refuse("log_softmax casts its input to another element type", "drop the dtype argument")
    dims = call.dims("dim", len(value.shape))
    call.passive(value, dims)
    if call.name == "logsumexp":
        return call.scaled(value, 1.0, axis=call.axis_after(value, dims, keeps=call.get("keepdim") is True))
    count = float(value.shape[dims[0]])
    return call.scaled(value, directed.between(max(1.0, count - 1), directed.sqrt(count), 2.0, call.norm))

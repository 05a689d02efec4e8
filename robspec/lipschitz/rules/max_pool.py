"""Max pooling: a maximum over windows, which an entry may take part in several times."""

from __future__ import annotations

import math

from robspec.lipschitz import directed
from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step, Value

_FIXED = ("max_pool1d", "max_pool2d", "max_pool3d")
_ADAPTIVE = ("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
OPERATIONS = (*_FIXED, *(f"{name}_with_indices" for name in _FIXED), *_ADAPTIVE)


def bound(call: Call) -> Step | list[Step | None]:
    """Bound by (product over sides of ceil(k / (s / gcd(s, d))))^(1/r), the number of windows an entry can be
    in.

    Raises:
        MixedBatch: the pooling runs over the images of a batch.

    Source: MATH.md section 5.
    """
    value = call.value("self")
    sides = int(call.name[call.name.index("pool") + 4])
    axes = tuple(range(len(value.shape) - sides, len(value.shape)))
    call.passive(value, axes)
    most = _adaptive(call, value, axes) if call.name in _ADAPTIVE else _fixed(call, sides)
    step = call.scaled(value, directed.root(most, call.norm))
    return step if len(call.shapes) == 1 else [step, None]


def _fixed(call: Call, sides: int) -> int:
    kernel = call.integers("kernel_size", sides)
    stride = kernel if call.get("stride") in (None, []) else call.integers("stride", sides)
    dilation = call.integers("dilation", sides)
    windows = (-(-k // (s // math.gcd(s, d))) for k, s, d in zip(kernel, stride, dilation, strict=True))
    return math.prod(windows)


def _adaptive(call: Call, value: Value, axes: tuple[int, ...]) -> int:
    """Count the overlap of the windows [floor(o n / m), ceil((o + 1) n / m))."""
    most = 1
    for axis in axes:
        side, outputs = value.shape[axis], call.shapes[0][axis]
        counts = [0] * side
        for o in range(outputs):
            for i in range(o * side // outputs, -(-(o + 1) * side // outputs)):
                counts[i] += 1
        most *= max(counts)
    return most

"""Arithmetic on sizes: what exporters write to find out a shape, done on whole numbers while the graph is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from robspec.models.onnx.call import Call, Constant, Sizes, sizes

_Numbers = npt.NDArray[Any]


def compute(call: Call) -> Sizes | None:
    """Compute a node of sizes.

    Args:
        call: one of whose inputs holds sizes.

    Returns:
        Sizes; None where the node is none of these, and its result data.
    """
    found = _TABLE.get(call.node.operator)
    if found is None:
        return None
    numbers: list[_Numbers] = []
    for value in call.inputs:
        if isinstance(value, Sizes):
            numbers.append(value.numbers)
        elif isinstance(value, Constant):
            numbers.append(value.array.astype(object))
        elif value is not None:
            return None
    result = np.asarray(found(call, *numbers), dtype=object)
    if result.ndim > 1 or result.size > 64:
        raise call.refused("so many sizes are no shape")
    return sizes(result.tolist() if result.ndim else result.item())


def _gather(call: Call, held: _Numbers, index: _Numbers) -> _Numbers:
    call.option("axis", 0)
    return np.asarray(held[index.astype(np.int64)], dtype=object)


def _slice(_: Call, held: _Numbers, *rest: _Numbers) -> _Numbers:
    start, end = (int(part.reshape(-1)[0]) for part in rest[:2])
    step = int(rest[3].reshape(-1)[0]) if len(rest) > 3 else 1
    return held[start:end:step]


def _concat(call: Call, *parts: _Numbers) -> _Numbers:
    call.option("axis", 0)
    return np.concatenate([part.reshape(-1) for part in parts])


def _vector(call: Call, held: _Numbers, *_: _Numbers) -> _Numbers:
    call.option("axes", (0,))
    return held.reshape(-1)


def _scalar(call: Call, held: _Numbers, *_: _Numbers) -> _Numbers:
    call.option("axes", (0,))
    return held.reshape(())


def _reshape(call: Call, held: _Numbers, shape: _Numbers) -> _Numbers:
    call.option("allowzero", 0)
    return held.reshape([int(side) for side in shape])


def _cast(call: Call, held: _Numbers) -> _Numbers:
    to = call.option("to", 7)
    call.option("saturate", 1)
    if to in (1, 11):
        return held
    if to not in (6, 7) or any(isinstance(number, float) and number != int(number) for number in held.reshape(-1)):
        raise call.refused("a size is cast to something else")
    return np.array([int(n) if isinstance(n, float) else n for n in held.reshape(-1)], dtype=object).reshape(
        held.shape
    )


def _divide(_: Call, left: _Numbers, right: _Numbers) -> _Numbers:
    if any(isinstance(number, float) for number in (*left.reshape(-1), *right.reshape(-1))):
        return left / right
    return left // right


def _product(call: Call, held: _Numbers, *_: _Numbers) -> _Numbers:
    kept = call.option("keepdims", 1)
    call.option("axes", (0,))
    total = np.prod(held.reshape(-1))
    return np.array([total] if kept else total, dtype=object)


_TABLE: dict[str, Callable[..., _Numbers]] = {
    "Add": lambda _, a, b: a + b,
    "Cast": _cast,
    "Ceil": lambda _, a: np.vectorize(lambda n: -int(-n // 1), otypes=[object])(a),
    "Concat": _concat,
    "Div": _divide,
    "Floor": lambda _, a: np.vectorize(lambda n: int(n // 1), otypes=[object])(a),
    "Gather": _gather,
    "Identity": lambda _, a: a,
    "Mul": lambda _, a, b: a * b,
    "ReduceProd": _product,
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _scalar,
    "Sub": lambda _, a, b: a - b,
    "Unsqueeze": _vector,
}

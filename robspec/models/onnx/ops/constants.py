"""Constants, identities and casts."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from robspec.models.onnx.call import Call, Constant, Sizes, Value, sizes

_TYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    11: torch.float64,
}


def _constant(call: Call) -> Constant:
    options = call.node.options
    names = sorted(options)
    if names == ["value"]:
        return Constant(call.option("value", np.zeros(0)))
    if names == ["value_int"]:
        return Constant(np.array(call.option("value_int", 0), dtype=np.int64))
    if names == ["value_ints"]:
        return Constant(np.array(call.option("value_ints", (0,)), dtype=np.int64))
    if names == ["value_float"]:
        return Constant(np.array(call.option("value_float", 0.0), dtype=np.float32))
    if names == ["value_floats"]:
        return Constant(np.array(call.option("value_floats", (0.0,)), dtype=np.float32))
    raise call.refused("it is no tensor, number or list of numbers")


def _filled(call: Call) -> Tensor:
    given = call.option("value", np.zeros(1, dtype=np.float32))
    shape = call.numbers(0) or []
    return torch.full([*shape], given.reshape(-1)[0].item(), dtype=torch.from_numpy(given).dtype)


def _same(call: Call) -> Value:
    found = call.value(0)
    return call.data() if found is None else found


def _dropout(call: Call) -> Value:
    call.option("ratio", 0.5)
    call.option("seed", 0)
    if call.number(2, 0):
        raise call.refused("it drops entries at random, as in training")
    if len(call.node.outputs) > 1 and call.node.outputs[1]:
        raise call.refused("its mask is asked for")
    return _same(call)


def _cast(call: Call) -> Tensor:
    to = call.option("to", 0)
    call.option("saturate", 1)
    if to not in _TYPES:
        raise call.refused("it casts to a type that is not read: floats of 32 and 64 bits, integers and truths are")
    return call.data().to(_TYPES[to])


def _shape(call: Call) -> Sizes:
    found = list(call.data().shape)
    start, end = call.option("start", 0), call.option("end", len(found))
    return sizes(found[start:end])


def _size(call: Call) -> Sizes:
    return sizes(call.data().numel())


def _range(call: Call) -> Tensor:
    start, limit, step = (call.number(i) for i in range(3))
    kind = call.constant(0)
    return torch.arange(start, limit, step, dtype=torch.int64 if kind is None else torch.from_numpy(kind).dtype)


OPERATORS = {
    "Cast": _cast,
    "Constant": _constant,
    "ConstantOfShape": _filled,
    "Dropout": _dropout,
    "Identity": _same,
    "Range": _range,
    "Shape": _shape,
    "Size": _size,
}

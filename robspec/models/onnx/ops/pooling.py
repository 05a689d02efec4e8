"""Pooling."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from robspec.models.onnx.call import Call
from robspec.models.onnx.window import Window, placed, window

_MAX: tuple[Any, ...] = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)
_MEAN: tuple[Any, ...] = (functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d)


def _window(call: Call, data: Tensor) -> Window:
    return window(call, list(data.shape[2:]), call.option("kernel_shape", (0,)))


def _max(call: Call) -> Tensor:
    data = call.data()
    found = _window(call, data)
    call.option("storage_order", 0)
    ceil = bool(call.option("ceil_mode", 0))
    if len(call.node.outputs) > 1 and call.node.outputs[1]:
        raise call.refused("the places of its maxima are asked for")
    if any(2 * pad > side for pad, side in zip(found.begins, found.kernel, strict=True)):
        data = functional.pad(
            data, [n for p in zip(found.begins[::-1], found.ends[::-1], strict=True) for n in p], value=-math.inf
        )
        padding = [0] * len(found.kernel)
    else:
        padding, data = placed(data, found, -math.inf)
    function = _MAX[len(found.kernel) - 1]
    result: Tensor = function(data, found.kernel, found.strides, padding, found.dilations, ceil)
    return result


def _average(call: Call) -> Tensor:
    data = call.data()
    found = _window(call, data)
    ceil = bool(call.option("ceil_mode", 0))
    counted = bool(call.option("count_include_pad", 0))
    if any(step != 1 for step in found.dilations):
        raise call.refused("it averages a dilated window")
    if found.begins != found.ends and not counted:
        raise call.refused("its padding is unequal on two sides and does not count")
    padding, data = placed(data, found, 0.0)
    function = _MEAN[len(found.kernel) - 1]
    result: Tensor = function(data, found.kernel, found.strides, padding, ceil, counted)
    return result


def _global_average(call: Call) -> Tensor:
    data = call.data()
    return data.mean(dim=list(range(2, data.dim())), keepdim=True)


def _global_max(call: Call) -> Tensor:
    data = call.data()
    return torch.amax(data, dim=list(range(2, data.dim())), keepdim=True)


OPERATORS = {
    "AveragePool": _average,
    "GlobalAveragePool": _global_average,
    "GlobalMaxPool": _global_max,
    "MaxPool": _max,
}

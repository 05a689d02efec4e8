"""Normalisations and what is made of whole rows: softmax, positions of extremes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from robspec.models.onnx.call import Call


def _batch(call: Call) -> Tensor:
    if call.option("training_mode", 0) or len([name for name in call.node.outputs if name]) > 1:
        raise call.refused("it runs in training mode")
    call.option("momentum", 0.9)
    data, scale, bias, mean, variance = (call.data(i) for i in range(5))
    return functional.batch_norm(data, mean, variance, scale, bias, False, 0.0, call.option("epsilon", 1e-5))


def _instance(call: Call) -> Tensor:
    data = call.data(0)
    # Each channel a group: exporters write group normalisation so, and the prover says what is true of that.
    return functional.group_norm(data, data.shape[1], call.data(1), call.data(2), call.option("epsilon", 1e-5))


def _layer(call: Call) -> Tensor:
    data = call.data()
    axis = call.option("axis", -1) % data.dim()
    call.option("stash_type", 1)
    if any(call.node.outputs[1:]):
        raise call.refused("its mean is asked for")
    return functional.layer_norm(
        data, list(data.shape[axis:]), call.data(1), call.optional(2), call.option("epsilon", 1e-5)
    )


def _group(call: Call) -> Tensor:
    data, scale, bias = call.data(0), call.data(1), call.data(2)
    call.option("stash_type", 1)
    if scale.numel() != data.shape[1]:
        raise call.refused("its weights are one per group, not one per channel")
    return functional.group_norm(data, call.option("num_groups", 1), scale, bias, call.option("epsilon", 1e-5))


def _length(call: Call) -> Tensor:
    data = call.data()
    p, axis = call.option("p", 2), call.option("axis", -1)
    length: Tensor = torch.linalg.vector_norm(data, p, dim=axis, keepdim=True)
    return data / length


def _softmax(call: Call, *, logarithm: bool = False) -> Tensor:
    data = call.data()
    function = functional.log_softmax if logarithm else functional.softmax
    if call.opset >= 13:
        return function(data, dim=call.option("axis", -1))
    # Before version 13 all dimensions from the axis on are one.
    axis = call.option("axis", 1) % data.dim()
    if axis == data.dim() - 1:
        return function(data, dim=axis)
    return function(data.flatten(axis), dim=axis).reshape(data.shape)


def _log_softmax(call: Call) -> Tensor:
    return _softmax(call, logarithm=True)


def _position(call: Call, *, largest: bool) -> Tensor:
    if call.option("select_last_index", 0):
        raise call.refused("it takes the last of equals")
    axis, kept = call.option("axis", 0), bool(call.option("keepdims", 1))
    return (torch.argmax if largest else torch.argmin)(call.data(), dim=axis, keepdim=kept)


OPERATORS = {
    "ArgMax": lambda call: _position(call, largest=True),
    "ArgMin": lambda call: _position(call, largest=False),
    "BatchNormalization": _batch,
    "GroupNormalization": _group,
    "InstanceNormalization": _instance,
    "LayerNormalization": _layer,
    "LogSoftmax": _log_softmax,
    "LpNormalization": _length,
    "Softmax": _softmax,
}

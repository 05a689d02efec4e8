"""Activations and arithmetic, entry by entry."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor
from torch.nn import functional

from robspec.models.onnx.call import Call, Operator


def _one(function: Callable[[Tensor], Tensor]) -> Operator:
    return lambda call: function(call.data())


def _two(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda call: function(call.data(0), call.data(1))


def _many(function: Callable[[Tensor, Tensor], Tensor]) -> Operator:
    return lambda call: reduce(function, call.all_data())


def _divide(call: Call) -> Tensor:
    left, right = call.data(0), call.data(1)
    # Of integers the quotient is rounded towards 0.
    return left / right if left.is_floating_point() else torch.div(left, right, rounding_mode="trunc")


def _mean(call: Call) -> Tensor:
    parts = call.all_data()
    return reduce(torch.add, parts) / float(len(parts))


def _power(call: Call) -> Tensor:
    held = call.value(1)
    base = call.data()
    if held is not None and not isinstance(held, Tensor):
        exponent = call.numbers(1) or []
        if len(exponent) == 1:
            return torch.pow(base, float(exponent[0]))
    return torch.pow(base, call.data(1))


def _clip(call: Call) -> Tensor:
    low, high = call.number(1), call.number(2)
    if low is None and high is None:
        return call.data()
    if low is not None and high is not None and low > high:
        raise call.refused("its least value is above its greatest")
    return torch.clamp(call.data(), low, high)


def _prelu(call: Call) -> Tensor:
    data, slope = call.data(0), call.data(1)
    if data.dim() >= 2 and slope.dim() >= 1 and math.prod(slope.shape) == max(slope.shape):
        sides = [1] * (data.dim() - slope.dim()) + list(slope.shape)
        if slope.numel() == 1 or (sides[1] == slope.numel() and sides[1] == data.shape[1]):
            return functional.prelu(data, slope.reshape(-1))
    return torch.where(data >= 0, data, slope * data)


def _gelu(call: Call) -> Tensor:
    return functional.gelu(call.data(), approximate=call.option("approximate", "none"))


def _hard_sigmoid(call: Call) -> Tensor:
    alpha, beta = call.option("alpha", 0.2), call.option("beta", 0.5)
    # Stored as a float of 32 bits, 1/6 is no longer that of Python.
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return functional.hardsigmoid(call.data())
    return torch.clamp(call.data() * alpha + beta, 0.0, 1.0)


def _celu(call: Call) -> Tensor:
    return functional.celu(call.data(), call.option("alpha", 1.0))


def _selu(call: Call) -> Tensor:
    alpha = call.option("alpha", 1.67326319217681884765625)
    gamma = call.option("gamma", 1.05070102214813232421875)
    return gamma * functional.elu(call.data(), alpha)


def _swish(call: Call) -> Tensor:
    alpha, data = call.option("alpha", 1.0), call.data()
    return functional.silu(data) if alpha == 1.0 else data * torch.sigmoid(alpha * data)


def _thresholded(call: Call) -> Tensor:
    return functional.threshold(call.data(), call.option("alpha", 1.0), 0.0)


def _shrink(call: Call) -> Tensor:
    bias, edge = call.option("bias", 0.0), call.option("lambd", 0.5)
    if bias == edge:
        return functional.softshrink(call.data(), edge)
    if bias == 0.0:
        return functional.hardshrink(call.data(), edge)
    raise call.refused("its bias is neither 0 nor its lambd")


def _where(call: Call) -> Tensor:
    return torch.where(call.data(0), call.data(1), call.data(2))


OPERATORS: dict[str, Operator] = {
    "Abs": _one(torch.abs),
    "Add": _two(torch.add),
    "And": _two(torch.logical_and),
    "Atan": _one(torch.atan),
    "Ceil": _one(torch.ceil),
    "Celu": _celu,
    "Clip": _clip,
    "Cos": _one(torch.cos),
    "Cosh": _one(torch.cosh),
    "Div": _divide,
    "Elu": lambda call: functional.elu(call.data(), call.option("alpha", 1.0)),
    "Equal": _two(torch.eq),
    "Erf": _one(torch.erf),
    "Exp": _one(torch.exp),
    "Floor": _one(torch.floor),
    "Gelu": _gelu,
    "Greater": _two(torch.gt),
    "GreaterOrEqual": _two(torch.ge),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _one(functional.hardswish),
    "LeakyRelu": lambda call: functional.leaky_relu(call.data(), call.option("alpha", 0.01)),
    "Less": _two(torch.lt),
    "LessOrEqual": _two(torch.le),
    "Log": _one(torch.log),
    "Max": _many(torch.maximum),
    "Mean": _mean,
    "Min": _many(torch.minimum),
    "Mish": _one(functional.mish),
    "Mul": _two(torch.mul),
    "Neg": _one(torch.neg),
    "Not": _one(torch.logical_not),
    "Or": _two(torch.logical_or),
    "PRelu": _prelu,
    "Pow": _power,
    "Reciprocal": _one(torch.reciprocal),
    "Relu": _one(functional.relu),
    "Round": _one(torch.round),
    "Selu": _selu,
    "Shrink": _shrink,
    "Sigmoid": _one(torch.sigmoid),
    "Sign": _one(torch.sign),
    "Sin": _one(torch.sin),
    "Sinh": _one(torch.sinh),
    "Softplus": _one(functional.softplus),
    "Softsign": _one(functional.softsign),
    "Sqrt": _one(torch.sqrt),
    "Sub": _two(torch.sub),
    "Sum": _many(torch.add),
    "Swish": _swish,
    "Tan": _one(torch.tan),
    "Tanh": _one(torch.tanh),
    "ThresholdedRelu": _thresholded,
    "Where": _where,
    "Xor": _two(torch.logical_xor),
}

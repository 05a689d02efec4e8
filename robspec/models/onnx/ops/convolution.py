"""Convolutions, also transposed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from robspec.models.onnx.call import Call
from robspec.models.onnx.window import placed, window

_PLAIN: tuple[Any, ...] = (torch.conv1d, torch.conv2d, torch.conv3d)
_TRANSPOSED: tuple[Any, ...] = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)


def _convolution(call: Call) -> Tensor:
    data, weight, bias = call.data(0), call.data(1), call.optional(2)
    found = window(call, list(data.shape[2:]), list(weight.shape[2:]))
    padding, data = placed(data, found, 0.0)
    groups = call.option("group", 1)
    function = _PLAIN[len(found.kernel) - 1]
    result: Tensor = function(data, weight, bias, found.strides, padding, found.dilations, groups)
    return result


def _transposed(call: Call) -> Tensor:
    data, weight, bias = call.data(0), call.data(1), call.optional(2)
    kernel = list(weight.shape[2:])
    rank = len(kernel)
    strides = list(call.option("strides", (1,) * rank))
    dilations = list(call.option("dilations", (1,) * rank))
    extra = list(call.option("output_padding", (0,) * rank))
    pads = list(call.option("pads", (0,) * 2 * rank))
    call.option("kernel_shape", tuple(kernel))
    automatic = call.option("auto_pad", "NOTSET")
    wide = [
        strides[i] * (int(data.shape[2 + i]) - 1) + extra[i] + (kernel[i] - 1) * dilations[i] + 1 for i in range(rank)
    ]
    asked: tuple[int, ...] | None = call.option("output_shape", (0,)) if call.given("output_shape") else None
    if automatic in ("SAME_UPPER", "SAME_LOWER") and asked is None:
        asked = tuple(int(data.shape[2 + i]) * strides[i] for i in range(rank))
    if asked is not None:
        total = [max(0, wide[i] - asked[-rank:][i]) for i in range(rank)]
        less = [t // 2 for t in total]
        more = [t - part for t, part in zip(total, less, strict=True)]
        # The specification puts the odd row at the end for SAME_UPPER alone.
        pads = less + more if automatic == "SAME_UPPER" else more + less
    elif automatic not in ("NOTSET", "VALID"):
        raise call.refused("its auto_pad is of no known kind")
    groups = call.option("group", 1)
    function = _TRANSPOSED[rank - 1]
    begins, ends = pads[:rank], pads[rank:]
    result: Tensor
    if begins == ends:
        result = function(data, weight, bias, strides, begins, extra, groups, dilations)
        return result
    result = function(data, weight, bias, strides, 0, extra, groups, dilations)
    for i, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        result = result.narrow(2 + i, begin, int(result.shape[2 + i]) - begin - end)
    return result


OPERATORS = {"Conv": _convolution, "ConvTranspose": _transposed}

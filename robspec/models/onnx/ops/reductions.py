"""Sums, means and extremes over axes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from robspec.models.onnx.call import Call, Operator, axes

_Reduce = Callable[[Tensor, list[int], bool], Tensor]


def _over(function: _Reduce, since: int = 18) -> Operator:
    def compute(call: Call) -> Tensor:
        data = call.data()
        kept = bool(call.option("keepdims", 1))
        nothing = call.option("noop_with_empty_axes", 0)
        if call.opset >= since:
            found = call.numbers(1) or []
        else:
            found = list(call.option("axes", (0,))) if call.given("axes") else []
        if not found:
            if nothing:
                return data
            found = list(range(data.dim()))
        return function(data, axes(found, data.dim()), kept)

    return compute


def _product(data: Tensor, over: list[int], kept: bool) -> Tensor:
    for axis in sorted(over, reverse=True):
        data = data.prod(dim=axis, keepdim=kept)
    return data


OPERATORS: dict[str, Operator] = {
    "ReduceL1": _over(lambda data, over, kept: data.abs().sum(over, kept)),
    "ReduceL2": _over(lambda data, over, kept: torch.linalg.vector_norm(data, 2, dim=over, keepdim=kept)),
    "ReduceLogSumExp": _over(torch.logsumexp),
    "ReduceMax": _over(torch.amax),
    "ReduceMean": _over(torch.mean),
    "ReduceMin": _over(torch.amin),
    "ReduceProd": _over(_product),
    "ReduceSum": _over(torch.sum, since=13),
    "ReduceSumSquare": _over(lambda data, over, kept: data.square().sum(over, kept)),
}

"""Products of matrices."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from robspec.models.onnx.call import Call


def _gemm(call: Call) -> Tensor:
    left, right, bias = call.data(0), call.data(1), call.optional(2)
    alpha, beta = call.option("alpha", 1.0), call.option("beta", 1.0)
    left = left.t() if call.option("transA", 0) else left
    weight = right if call.option("transB", 0) else right.t()
    if alpha == beta == 1.0 and (bias is None or bias.dim() == 1):
        return functional.linear(left, weight, bias)
    product = functional.linear(left, weight)
    product = product if alpha == 1.0 else product * alpha
    if bias is None:
        return product
    return product + (bias if beta == 1.0 else bias * beta)


def _matmul(call: Call) -> Tensor:
    return torch.matmul(call.data(0), call.data(1))


def _einsum(call: Call) -> Tensor:
    return torch.einsum(call.option("equation", ""), *call.all_data())


OPERATORS = {"Einsum": _einsum, "Gemm": _gemm, "MatMul": _matmul}

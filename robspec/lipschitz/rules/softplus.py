"""The softplus log(1 + exp(beta x)) / beta."""

from __future__ import annotations

import math

import torch

from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step

OPERATIONS = ("softplus",)
_MOST, _MOST_WIDE = 88.0, 709.0
"""Whole numbers below the logarithms of the largest numbers, single (half is computed in it) and double."""


def bound(call: Call) -> Step:
    """Bound by 1, reading the switch to the identity above `threshold` as the rounding it is meant to be.

    Above the threshold t the code returns x instead of a value larger by log(1 + exp(-t)) / beta. Where
    that jump is below half a unit in the last place of the data's element type it belongs to the arithmetic
    of the forward pass; a larger one is refused. Up to the threshold the code takes exp(beta x), which must not
    overflow: from there on it would return infinity.

    Raises:
        NoGlobalConstant: beta <= 0, or a threshold at which the function visibly jumps, or beyond which it overflows.

    Source: MATH.md section 5.
    """
    beta, threshold = call.number("beta"), call.number("threshold")
    if beta <= 0:
        raise call.refuse("softplus with beta <= 0 is not the softplus", "use beta > 0")
    wide = call.dtypes[0] == torch.float64
    mend = "use a threshold of 40, F.softplus(x, threshold=40)" if wide else "use the default threshold of 20"
    if threshold <= 0 or math.log1p(math.exp(-threshold)) > threshold * 2.0 ** (-54 if wide else -25):
        raise call.refuse(f"softplus jumps at its threshold {threshold:g}", mend)
    if not threshold <= (_MOST_WIDE if wide else _MOST):
        what = f"softplus takes exp(beta x) up to its threshold {threshold:g}, which overflows"
        raise call.refuse(what, mend)
    return call.entrywise(1.0, monotone=True)

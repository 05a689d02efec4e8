"""Folding of sliding windows back into an image: overlapping windows are summed."""

from __future__ import annotations

import torch
from torch.nn import functional

from robspec.lipschitz import directed
from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step

OPERATIONS = ("col2im",)


def bound(call: Call) -> Step:
    """Bound by m^(1 - 1/r), m the largest number of windows summed into one pixel: exact by Hoelder.

    Raises:
        MixedBatch: the batch is folded.
    """
    value = call.value("self")
    call.passive(value, range(len(value.shape) - 2, len(value.shape)))
    kernel = call.integers("kernel_size", 2)
    ones = torch.ones(1, kernel[0] * kernel[1], value.shape[-1], dtype=torch.float64)
    folded = functional.fold(
        ones,
        call.integers("output_size", 2),
        kernel,
        dilation=call.integers("dilation", 2),
        padding=call.integers("padding", 2),
        stride=call.integers("stride", 2),
    )
    most = float(folded.max())
    return call.scaled(value, directed.power(most, 1 - directed.inverse(call.norm)))

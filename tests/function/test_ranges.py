"""Ranges hold for every image, and are as narrow as interval arithmetic makes them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from robspec.function.ranges import output_range
from robspec.function.settle import settle

INF = math.inf
F = torch.nn.functional


def unit(x: Tensor) -> Tensor:
    """Values from 0 to 1."""
    return torch.sigmoid(x)


def both(x: Tensor) -> Tensor:
    """Values from -1 to 1."""
    return torch.tanh(x)


RANGES: dict[str, tuple[Callable[[Tensor], Tensor], float, float]] = {
    "an image": (lambda x: x.clone(), -INF, INF),
    "a factor below 0": (lambda x: unit(x) * -2.0, -2.0, 0.0),
    "a factor of both signs": (lambda x: unit(x) * torch.tensor([-2.0, 3.0]).reshape(1, 2, 1, 1), -2.0, 3.0),
    "zero times everything": (lambda x: x * 0.0, 0.0, 0.0),
    "a product of ranges": (lambda x: (both(x) - 1.0) * (unit(x) + 1.0), -4.0, 0.0),
    "a number times itself": (lambda x: (s := both(x)) * s, 0.0, 1.0),
    "a number above 0 times itself": (lambda x: (s := unit(x) + 1.0) * s, 1.0, 4.0),
    "a number below 0 times itself": (lambda x: (s := -unit(x) - 1.0) * s, 1.0, 4.0),
    "a quotient": (lambda x: unit(x) / 4.0, 0.0, 0.25),
    "a quotient by a number below 0": (lambda x: unit(x) / -4.0, -0.25, 0.0),
    "a quotient by a range": (lambda x: both(x) / (unit(x) + 1.0), -1.0, 1.0),
    "a quotient by what may be 0": (lambda x: unit(x) / (1.0 - unit(x)), -INF, INF),
    "a quotient rounded down": (lambda x: torch.div(unit(x), 0.3, rounding_mode="floor"), -INF, INF),
    "a sum": (lambda x: unit(x) + both(x), -1.0, 2.0),
    "a sum with a factor": (lambda x: torch.add(unit(x), both(x), alpha=2), -2.0, 3.0),
    "a sum with a factor below 0": (lambda x: torch.add(unit(x), unit(x) + 1.0, alpha=-2), -4.0, -1.0),
    "a difference": (lambda x: unit(x) - (unit(x) + 1.0), -2.0, 0.0),
    "a difference with a factor": (lambda x: torch.sub(unit(x), unit(x) + 1.0, alpha=2), -4.0, -1.0),
    "a difference from a number": (lambda x: torch.rsub(unit(x), 3.0), 2.0, 3.0),
    "a difference from a number with a factor": (lambda x: torch.rsub(unit(x), 3.0, alpha=2), 1.0, 3.0),
    "a negative": (lambda x: -(unit(x) + 1.0), -2.0, -1.0),
    "relu of what is above 0": (lambda x: torch.relu(unit(x) + 1.0), 1.0, 2.0),
    "relu of what is below 0": (lambda x: torch.relu(-unit(x) - 1.0), 0.0, 0.0),
    "a size": (lambda x: torch.abs(both(x)), 0.0, 1.0),
    "a size of what is below 0": (lambda x: torch.abs(-unit(x) - 1.0), 1.0, 2.0),
    "a size of what is above 0": (lambda x: torch.abs(unit(x) + 1.0), 1.0, 2.0),
    "an even power": (lambda x: torch.pow(x, 4), 0.0, INF),
    "an odd power": (lambda x: torch.pow(x, 3), -INF, INF),
    "an odd power of what is above 0": (lambda x: torch.pow(unit(x), 3), 0.0, INF),
    "a clamp from below": (lambda x: torch.clamp(both(x), min=-0.5), -0.5, 1.0),
    "a clamp from above": (lambda x: torch.clamp(both(x), max=0.5), -1.0, 0.5),
    "a clamp far above": (lambda x: torch.clamp(both(x), min=2.0), 2.0, 2.0),
    "a clamp far below": (lambda x: torch.clamp(both(x), max=-2.0), -2.0, -2.0),
    "a clamp by tensors": (lambda x: torch.clamp(x, unit(x) - 3.0, unit(x) + 3.0), -3.0, 4.0),
    "clamp_min": (lambda x: torch.clamp_min(both(x), 0.25), 0.25, 1.0),
    "clamp_max": (lambda x: torch.clamp_max(both(x), 0.25), -1.0, 0.25),
    "hardtanh": (lambda x: F.hardtanh(x), -1.0, 1.0),
    "hardtanh to other ends": (lambda x: F.hardtanh(x, -3.0, 2.0), -3.0, 2.0),
    "a sum of what is above 0": (lambda x: unit(x).sum(1, keepdim=True), 0.0, INF),
    "a sum of what is below 0": (lambda x: (-unit(x)).sum(1, keepdim=True), -INF, 0.0),
    "a sum of both": (lambda x: both(x).sum(1, keepdim=True), -INF, INF),
    "side by side": (lambda x: torch.cat([unit(x), both(x) - 3.0], 1), -4.0, 1.0),
    "the larger": (lambda x: torch.maximum(unit(x), both(x)), -1.0, 1.0),
    "a border of zeros": (lambda x: F.pad(unit(x) + 1.0, (1, 1, 1, 1)), 0.0, 2.0),
    "a border of a number": (lambda x: F.pad(unit(x) + 1.0, (1, 1, 1, 1), value=5.0), 1.0, 5.0),
    "a window with zeros": (lambda x: F.avg_pool2d(unit(x) + 1.0, 3, 1, 1), 0.0, 2.0),
    "zeros": (lambda x: torch.zeros_like(x) + unit(x), 0.0, 1.0),
    "ones": (lambda x: torch.ones_like(x) + unit(x), 1.0, 2.0),
    "a filling": (lambda x: torch.full_like(x, 2.5) + unit(x), 2.5, 3.5),
    "a constant": (lambda x: unit(x) + torch.tensor([[[[-1.0]], [[4.0]]]]), -1.0, 5.0),
    "what is not known": (lambda x: torch.cumsum(unit(x), 1), -INF, INF),
}


@pytest.mark.parametrize("name", RANGES)
def test_a_range(export: Any, name: str) -> None:
    function, low, high = RANGES[name]
    assert output_range(settle(export(function))) == (low, high)
    images = torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 4
    values = function(images)
    assert low <= float(values.min())
    assert float(values.max()) <= high

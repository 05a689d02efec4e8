"""A program run in another precision is the same function."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from robspec.function.running import Runner


class Enlarged(nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(x, size=(129, 5), mode=self.mode)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_nearest_pixels_are_those_of_the_files_own_type(mode: str) -> None:
    """From 45 to 129, float32 takes pixel 14 where float64 takes 15."""
    images = torch.arange(2 * 3 * 45 * 4, dtype=torch.float32).reshape(2, 3, 45, 4)
    program = torch.export.export(Enlarged(mode).eval(), (images,))
    runs = [Runner(program, torch.float32, dtype, torch.device("cpu")) for dtype in (torch.float32, torch.float64)]
    single, double = (
        r.images_to_logits(images.to(d)) for r, d in zip(runs, (torch.float32, torch.float64), strict=True)
    )
    assert double.dtype == torch.float64
    assert torch.equal(single.double(), double)
    if mode == "nearest":
        plain = functional.interpolate(images.double(), size=(129, 5), mode=mode)
        assert not torch.equal(plain, double)


def test_nearest_pixels_pass_gradients_on() -> None:
    images = torch.ones(1, 1, 45, 4, dtype=torch.float64, requires_grad=True)
    program = torch.export.export(Enlarged("nearest").eval(), (torch.ones(1, 1, 45, 4),))
    runner = Runner(program, torch.float32, torch.float64, torch.device("cpu"))
    runner.images_to_logits(images).sum().backward()
    assert images.grad is not None
    assert float(images.grad.sum()) == 129 * 5

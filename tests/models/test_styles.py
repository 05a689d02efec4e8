"""Networks in the style of torchvision and segmentation_models_pytorch have a constant, or a reason why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robspec.lipschitz.errors import NoGlobalConstant
from robspec.lipschitz.prove import prove
from robspec.models.export import export_archive
from robspec.models.loading import load
from robspec.semantics.norm import L2


def block(before: int, after: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(before, after, 3, stride, dilation, dilation, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


def resized(data: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(data, size=like.shape[-2:], mode="bilinear", align_corners=False)


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = block(3, 4), block(4, 8), block(12, 4)
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.first(x)
        low = functional.interpolate(self.second(functional.max_pool2d(skip, 2)), scale_factor=2.0, mode="nearest")
        return self.head(self.last(torch.cat([low, skip], 1)))


class DeepLab(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = block(3, 4, 2)
        self.branches = nn.ModuleList([block(4, 4, 1, d) for d in (1, 2)])
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1, bias=False), nn.ReLU())
        self.head = nn.Sequential(nn.Conv2d(12, 4, 1), nn.Dropout(0.5), nn.Conv2d(4, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        low = self.stem(x)
        parts = [branch(low) for branch in self.branches]
        return resized(self.head(torch.cat([*parts, resized(self.pool(low), low)], 1)), x)


class Pyramid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = block(3, 4, 2), block(4, 8, 2)
        self.lateral, self.top, self.head = nn.Conv2d(4, 4, 1), nn.Conv2d(8, 4, 1), nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(x)
        top = functional.interpolate(self.top(self.two(one)), scale_factor=2.0, mode="nearest")
        return resized(self.head(self.lateral(one) + top), x)


class LRASPP(nn.Module):
    def __init__(self, *, scaled: bool) -> None:
        super().__init__()
        self.low, self.high = block(3, 4, 2), nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1), nn.Hardswish())
        self.scale = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1, bias=False), nn.Sigmoid())
        self.heads = nn.ModuleList([nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)])
        self.scaled = scaled

    def forward(self, x: Tensor) -> Tensor:
        low = self.low(x)
        high = self.high(low)
        high = high * self.scale(high) if self.scaled else high
        return resized(self.heads[0](low) + self.heads[1](resized(high, low)), x)


class SegFormer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.norm, self.attention = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        low = self.patches(x)
        tokens = self.norm(low.flatten(2).transpose(1, 2))
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return resized(self.head(tokens.transpose(1, 2).reshape(low.shape)), x)


STYLES: dict[str, Callable[[], nn.Module]] = {
    "U-Net": UNet,
    "DeepLab": DeepLab,
    "FPN": Pyramid,
    "LR-ASPP without its gate": lambda: LRASPP(scaled=False),
}


def archive(network: nn.Module, folder: Path) -> Any:
    path = folder / "model.pt2"
    path.write_bytes(export_archive(network.eval(), None, (3, 16, 12), 4, "network").archive)
    return load(path)


@pytest.mark.parametrize("name", STYLES)
def test_a_constant_is_proved_and_two_images_keep_it(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    found = archive(STYLES[name](), tmp_path)
    bound = prove(found.program, input_norm=L2, output_norm=L2).bound
    first, second = torch.rand(2, 8, 3, 16, 12, dtype=torch.float64).float()
    moved = (found.logits(first) - found.logits(second)).double().flatten(1).norm(dim=1)
    assert bool((moved <= bound * (first - second).double().flatten(1).norm(dim=1)).all())


@pytest.mark.parametrize(
    ("network", "module"), [(SegFormer(), "norm"), (LRASPP(scaled=True), "")], ids=["SegFormer", "LR-ASPP"]
)
def test_what_has_no_constant_is_refused_by_its_name(network: nn.Module, module: str, tmp_path: Path) -> None:
    found = archive(network, tmp_path)
    with pytest.raises(NoGlobalConstant) as refused:
        prove(found.program, input_norm=L2, output_norm=L2)
    assert module in refused.value.where
    assert "test_styles.py" in refused.value.where

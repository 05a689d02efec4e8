"""What torch's exporters write is read again, from operator set 11 to the newest, and computes the same."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robspec.lipschitz.errors import NoGlobalConstant
from robspec.lipschitz.prove import prove
from robspec.models.loading import LoadedModel, load
from robspec.semantics.norm import L2

DEEP = os.environ.get("ROBSPEC_HYPOTHESIS") == "deep"


class Encoder(nn.Module):
    """Convolution, normalisation, a pooled branch, a concatenation and a resize, as segmentation networks have."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.down = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        y = torch.relu(self.norm(self.down(image)))
        y = torch.cat([y, functional.adaptive_avg_pool2d(y, 1).expand_as(y)], 1)
        return functional.interpolate(self.head(y), scale_factor=2, mode="bilinear", align_corners=False)


class Pyramid(nn.Module):
    """Group normalisation and merges of levels, as a feature pyramid has."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.GroupNorm(4, 8), nn.ReLU())
        self.next = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1, bias=False), nn.GroupNorm(2, 8), nn.ReLU())
        self.side = nn.ModuleList([nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)])
        self.head = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        first = self.stem(image)
        top = self.side[1](self.next(first))
        merged = self.side[0](first) + functional.interpolate(top, size=first.shape[-2:], mode="nearest")
        return functional.interpolate(self.head(merged), size=image.shape[-2:], mode="bilinear", align_corners=False)


class Dilated(nn.Module):
    """Dilated branches, one of them pooled, side by side, and a skip, as DeepLab has."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.branches = nn.ModuleList([nn.Conv2d(6, 4, 3, padding=d, dilation=d) for d in (1, 2, 3)])
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 4, 1), nn.ReLU())
        self.join = nn.Sequential(nn.Conv2d(16, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Conv2d(10, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        low = self.stem(image)
        side = functional.interpolate(self.pooled(low), size=low.shape[-2:], mode="bilinear", align_corners=False)
        joined = self.join(torch.cat([torch.relu(branch(low)) for branch in self.branches] + [side], 1))
        logits = self.head(torch.cat([joined, low], 1))
        return functional.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)


@pytest.fixture
def network() -> nn.Module:
    return Encoder().eval()


def read_again(path: Path, network: nn.Module) -> LoadedModel:
    found, images = load(path), torch.rand(3, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(found.logits(images), network(images), rtol=1e-5, atol=1e-5)
    assert str(found.batch) == "1 to 64"
    return found


@pytest.mark.parametrize("kind", [Pyramid, Dilated])
@pytest.mark.parametrize("dynamo", [True, False])
def test_networks_as_they_are_used_come_to_the_same_end_as_their_own_export(
    kind: type[nn.Module], dynamo: bool, tmp_path: Path
) -> None:
    """A constant that is at most that of the module exported directly; a refusal where that is refused."""
    if dynamo:
        pytest.importorskip("onnxscript")
    network, path = kind().eval(), tmp_path / "m.onnx"
    free: dict[str, Any] = {"input_names": ["image"], "dynamic_axes": {"image": {0: "batch"}}, "opset_version": 17}
    if dynamo:
        free = {"dynamic_shapes": ({0: torch.export.Dim("batch", min=1, max=64)},), "external_data": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.rand(2, 3, 8, 8),), str(path), dynamo=dynamo, verbose=False, **free)
    again = read_again(path, network).program
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    own = torch.export.export(network, (torch.rand(2, 3, 8, 8),), dynamic_shapes=shapes)
    if kind is Pyramid:
        for program in (own, again):
            with pytest.raises(NoGlobalConstant, match="deviation"):
                prove(program, input_norm=L2, output_norm=L2)
        return
    bounds = [prove(program, input_norm=L2, output_norm=L2).bound for program in (own, again)]
    assert bounds[1] == pytest.approx(bounds[0], rel=1e-5)


@pytest.mark.parametrize("opset", [None, *((18, 21, 23, 24) if DEEP else ())])
def test_what_dynamo_exports(network: nn.Module, opset: int | None, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    free = {0: torch.export.Dim("batch", min=1, max=64)}
    path = tmp_path / "m.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.rand(2, 3, 8, 8),),
            path,
            dynamo=True,
            opset_version=opset,
            dynamic_shapes=(free,),
            external_data=False,
            verbose=False,
        )
    read_again(path, network)


@pytest.mark.parametrize("opset", [11, 13, 16, 21])
def test_what_the_tracing_exporter_exports(network: nn.Module, opset: int, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.rand(2, 3, 8, 8),),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=["image"],
            dynamic_axes={"image": {0: "batch"}},
        )
    read_again(path, network)

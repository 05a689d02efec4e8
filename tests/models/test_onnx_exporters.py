"""What torch's exporters write is read again, from operator set 11 to the newest, and computes the same."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robspec.models.loading import load

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


@pytest.fixture
def network() -> nn.Module:
    return Encoder().eval()


def read_again(path: Path, network: nn.Module) -> None:
    found, images = load(path), torch.rand(3, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(found.logits(images), network(images), rtol=1e-5, atol=1e-5)
    assert str(found.batch) == "1 to 64"


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

"""Networks that accumulate in float64: what they compute, and that only their own type is rounded back to."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from robspec.errors import RobspecError
from robspec.lipschitz.prove import prove
from robspec.lipschitz.rounding.precision import SINGLE
from robspec.lipschitz.rounding.recursion import Box, bound
from robspec.models.export import export_archive
from robspec.models.loading import load
from robspec.semantics.norm import L2
from tests.property.random_rounding import draw, network, ratios

SIDE = 6


class Mixed(nn.Module):
    """Convolutions of both kinds, and a linear layer over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 5, 3, padding=1), nn.ConvTranspose2d(5, 4, 2, stride=2)
        self.last = nn.Linear(4, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = self.second(torch.relu(self.first(images)))
        return self.last(found.movedim(1, -1)).movedim(-1, 1)


def archive(path: Path, net: nn.Module, *, accumulate: bool) -> torch.export.ExportedProgram:
    path.write_bytes(export_archive(net, None, (3, SIDE, SIDE), 8, "net", accumulates=accumulate).archive)
    return load(path).program


def test_every_sum_of_products_is_rounded_once(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Mixed().eval()
    plain = archive(tmp_path / "plain.pt2", net, accumulate=False)
    wide = archive(tmp_path / "wide.pt2", net, accumulate=True)
    images = torch.rand(3, 3, SIDE, SIDE)

    def up(layer: nn.Module) -> list[torch.Tensor]:
        return [p.detach().double() for p in (layer.weight, layer.bias)]

    with torch.no_grad():
        first = functional.conv2d(images.double(), *up(net.first), padding=1).float()
        second = functional.conv_transpose2d(torch.relu(first).double(), *up(net.second), stride=2).float()
        wanted = functional.linear(second.movedim(1, -1).double(), *up(net.last)).float().movedim(-1, 1)
    assert torch.equal(load(tmp_path / "wide.pt2").logits(images), wanted)
    assert prove(wide, input_norm=L2, output_norm=L2).value == prove(plain, input_norm=L2, output_norm=L2).value
    box = Box((0.5,) * 3, (0.5,) * 3, (0.0,) * 3)
    (one,), (other,) = bound(plain, box, (SINGLE,)), bound(wide, box, (SINGLE,))
    assert other.delta < one.delta / 20


@pytest.mark.parametrize("seed", range(7000, 7008))
def test_no_network_is_further_off_than_its_bound(seed: int) -> None:
    random = np.random.default_rng(seed)
    net = network(random)
    with torch.no_grad():
        draw(net, random)
    assert max(ratios(net, random, 1, accumulate=True).values()) <= 1.0


@pytest.mark.parametrize(("own", "low"), [(torch.float32, torch.float16), (torch.float64, torch.float32)])
def test_only_the_type_of_the_images_is_rounded_back_to(own: torch.dtype, low: torch.dtype) -> None:
    class Cast(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.to(low).to(own) * 2.0

    program = torch.export.export(Cast(), (torch.rand(2, 3, 4, 4, dtype=own),))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    with pytest.raises(RobspecError, match="rounding is a step function"):
        prove(program, input_norm=L2, output_norm=L2)

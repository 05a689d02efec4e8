"""Every 1-Lipschitz layer of orthogonium 0.0.4 is proved from its exported graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from robspec.lipschitz.prove import prove
from robspec.semantics.norm import L2

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from orthogonium.layers import (
        AdaptiveOrthoConv2d,
        AdaptiveOrthoConvTranspose2d,
        BatchCentering2D,
        ChannelShuffle,
        LayerCentering2D,
        OrthoLinear,
        UnitNormLinear,
    )
    from orthogonium.layers.conv.adaptiveSOC import AdaptiveSOCConv2d, AdaptiveSOCConvTranspose2d
    from orthogonium.layers.conv.AOL import AOLConv2D, AOLConvTranspose2D
    from orthogonium.layers.conv.SLL import (
        AOCLipschitzResBlock,
        SDPBasedLipschitzDense,
        SDPBasedLipschitzResBlock,
        SLLxAOCLipschitzResBlock,
    )
    from orthogonium.layers.custom_activations import Abs, HouseHolder, HouseHolder_Order_2, MaxMin, SoftHuber
    from orthogonium.layers.residual import (
        AdditiveResidual,
        ConcatResidual,
        L2NormResidual,
        PrescaledAdditiveResidual,
    )

IMAGE = (8, 8, 8)
EXACT = 1.00001


def _fn(channels: int) -> nn.Module:
    return nn.Sequential(
        AdaptiveOrthoConv2d(channels, channels, 3), MaxMin(), AdaptiveOrthoConv2d(channels, channels, 3)
    )


def _zeros(**options: Any) -> Callable[[], nn.Module]:
    return lambda: AdaptiveOrthoConv2d(8, padding_mode="zeros", **options)


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float]] = {
    "Abs": (Abs, IMAGE, 1.0),
    "SoftHuber": (SoftHuber, IMAGE, EXACT),
    "MaxMin": (MaxMin, IMAGE, 1.0),
    "HouseHolder": (lambda: _turned(HouseHolder(8)), IMAGE, 0.70711),
    "HouseHolder_Order_2": (lambda: HouseHolder_Order_2(8), IMAGE, 0.70711),
    "ChannelShuffle": (lambda: ChannelShuffle(2, 4), IMAGE, 1.0),
    "BatchCentering2D": (lambda: BatchCentering2D(8), IMAGE, 1.0),
    "LayerCentering2D": (lambda: LayerCentering2D(8), IMAGE, 1.0),
    "LPPool2d": (lambda: nn.LPPool2d(2, 2), IMAGE, EXACT),
    "OrthoLinear": (lambda: OrthoLinear(16, 8), (16,), EXACT),
    "UnitNormLinear": (lambda: UnitNormLinear(16, 8), (16,), 2.9),
    "FastBlockConv2d": (lambda: AdaptiveOrthoConv2d(8, 8, 3), IMAGE, EXACT),
    "FastBlockConv2d grouped": (lambda: AdaptiveOrthoConv2d(8, 8, 3, groups=2), IMAGE, EXACT),
    "FastBlockConv2d dilated": (_zeros(out_channels=8, kernel_size=3, dilation=2, padding=2), IMAGE, EXACT),
    "FastBlockConv2d zeros": (_zeros(out_channels=16, kernel_size=3, padding=1), IMAGE, EXACT),
    "BcopRkoConv2d": (lambda: AdaptiveOrthoConv2d(8, 16, 3, stride=2, padding=1), IMAGE, EXACT),
    "RKOConv2d": (lambda: AdaptiveOrthoConv2d(8, 32, 2, stride=2, padding=0), IMAGE, EXACT),
    "RkoConvTranspose2d": (lambda: AdaptiveOrthoConvTranspose2d(8, 4, 2, stride=2), IMAGE, EXACT),
    "BcopRkoConvTranspose2d": (
        lambda: AdaptiveOrthoConvTranspose2d(8, 8, 4, stride=2, padding=1),
        IMAGE,
        EXACT,
    ),
    "FastBlockConvTranspose2D": (lambda: AdaptiveOrthoConvTranspose2d(8, 8, 3, padding=1), IMAGE, EXACT),
    "AOLConv2D": (lambda: AOLConv2D(8, 8, 3, padding=1), IMAGE, EXACT),
    "AOLConvTranspose2D": (lambda: AOLConvTranspose2D(8, 8, 3, padding=1), IMAGE, EXACT),
    "AdaptiveSOCConv2d": (lambda: AdaptiveSOCConv2d(8, 8, 3), IMAGE, 1.08),
    "AdaptiveSOCConv2d strided": (lambda: AdaptiveSOCConv2d(8, 16, 3, stride=2, padding=1), IMAGE, 1.08),
    "AdaptiveSOCConvTranspose2d": (lambda: AdaptiveSOCConvTranspose2d(8, 8, 3, padding=1), IMAGE, 1.08),
    "SDPBasedLipschitzResBlock": (lambda: SDPBasedLipschitzResBlock(8, 2, 3), IMAGE, EXACT),
    "SDPBasedLipschitzDense": (lambda: SDPBasedLipschitzDense(16, 16, 24), (16,), EXACT),
    "SLLxAOCLipschitzResBlock": (lambda: SLLxAOCLipschitzResBlock(8, 16, 2, 3, stride=2), IMAGE, EXACT),
    "AOCLipschitzResBlock circular": (lambda: AOCLipschitzResBlock(8, 2, 3), IMAGE, EXACT),
    "AOCLipschitzResBlock zeros": (lambda: AOCLipschitzResBlock(8, 2, 3, padding_mode="zeros"), IMAGE, EXACT),
    "ConcatResidual": (lambda: ConcatResidual(_fn(4)), IMAGE, EXACT),
    "L2NormResidual": (lambda: L2NormResidual(_fn(8)), IMAGE, EXACT),
    "AdditiveResidual": (lambda: AdditiveResidual(_fn(8)), IMAGE, EXACT),
    "PrescaledAdditiveResidual": (lambda: PrescaledAdditiveResidual(_fn(8)), IMAGE, EXACT),
}


def _turned(layer: nn.Module) -> nn.Module:
    layer.theta.data.uniform_(-6.0, 6.0)
    return layer


def _explicit(model: nn.Module) -> nn.Module:
    """Make parametrised weights explicit, as an exported model needs them."""
    model.eval()
    plain = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    for module in list(model.modules()):
        if isinstance(module, plain) and parametrize.is_parametrized(module):
            for name in list(module.parametrizations):
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    return model


@pytest.mark.parametrize("name", list(LAYERS))
def test_every_layer_is_proved(name: str, export: Any, stretch: Any) -> None:
    torch.manual_seed(0)
    build, shape, expected = LAYERS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # orthogonium warns about configurations that are not orthogonal
        program = export(_explicit(build()), shape)
    proved = prove(program, input_norm=L2, output_norm=L2).bound
    assert proved <= expected
    measured = stretch(program, L2, pairs=8, scale=0.5)
    assert measured <= proved * (1 + 1e-6)


def test_a_formula_that_merely_resembles_householder_is_refused(export: Any) -> None:
    """The reflection is used on the wrong side of the ray: the map jumps, and must not be bounded."""
    from robspec.lipschitz.errors import NoGlobalConstant

    theta = torch.full((1, 2, 1, 1), 1.0)

    def forward(z: torch.Tensor) -> torch.Tensor:
        x, y = z.split(2, 1)
        selector = x * torch.sin(0.4 * theta) - y * torch.cos(0.4 * theta)
        a2 = x * torch.cos(theta) + y * torch.sin(theta)
        b2 = x * torch.sin(theta) - y * torch.cos(theta)
        a = x * (selector <= 0) + a2 * (selector > 0)
        b = y * (selector <= 0) + b2 * (selector > 0)
        return torch.cat([a, b], 1)

    with pytest.raises(NoGlobalConstant):
        prove(export(forward, (4, 3, 3)), input_norm=L2, output_norm=L2)

"""One score per image: the networks behind one-class models, whose score is a signed distance to the class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from robspec.models.errors import ModelDesign
from robspec.models.lipnets.kit import LayerKit
from robspec.models.lipnets.network import SegmentationNet
from robspec.models.lipnets.unit import Flow, Unit


class ScoreNet(SegmentationNet):
    """A network from images of one shape, [B, C, H, W], to scores [B, 1].

    Args:
        shape: C, H, W.
        kit: where the layers come from.
        mean: per channel, subtracted from the image.
        std: per channel, what the image is divided by.
        stride: what the sides of the image must be divisible by.
    """

    def __init__(
        self, shape: Sequence[int], kit: LayerKit, mean: Sequence[float], std: Sequence[float], stride: int = 1
    ) -> None:
        super().__init__(kit, mean, std, stride)
        self.shape = tuple(shape)
        if len(self.shape) != 3 or self.shape[0] != len(mean) or any(side % stride for side in self.shape[1:]):
            raise ModelDesign(
                "input",
                f"shape {list(shape)} does not fit {len(mean)} channels of normalisation and a stride of {stride}",
                f"give [C, H, W] with sides that are multiples of {stride}",
            )

    def forward(self, image: Tensor) -> Tensor:
        """Compute the scores.

        Args:
            image: [B, C, H, W] in the units of the declared input.

        Returns:
            [B, 1].
        """
        return super().forward(image).flatten(1)

    def probe(self) -> Tensor:
        """See `SegmentationNet.probe`: the one shape there is, two images."""
        return torch.rand(2, *self.shape, generator=torch.Generator().manual_seed(0))


class LipMLP(ScoreNet):
    """Fully connected layers, each an orthogonal matrix, as convolutions of 1x1 on a map of one pixel.

    Args:
        shape: C, H, W.
        channels: width of each stage.
        depths: further layers of that width in each stage.
        kit: where the layers come from.
        mean: of the input normalisation.
        std: of the input normalisation.
    """

    architecture: ClassVar[str] = "mlp"

    def __init__(
        self,
        shape: Sequence[int],
        channels: Sequence[int] = (64,),
        depths: Sequence[int] = (2,),
        *,
        kit: LayerKit,
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (1.0,),
    ) -> None:
        super().__init__(shape, kit, mean, std)
        self.body = _flat(kit, math.prod(self.shape), channels, depths)
        self.head = Unit(kit, channels[-1], 1, 1, plain=True)

    def flow(self, flow: Flow) -> Flow:
        """Lay the image out in one pixel, then mix."""
        found: Flow = self.head(self.body(_in_one_pixel(flow)))
        return found


class LipConvNet(ScoreNet):
    """Stages that halve the sides and then mix, as in `LipFCN`, and one fully connected layer.

    Args:
        shape: C, H, W, sides divisible by 2 as often as there are stages.
        channels: of each stage, and of the layer behind the last.
        depths: convolutions of 3x3 in each stage.
        kit: where the layers come from.
        mean: of the input normalisation.
        std: of the input normalisation.
    """

    architecture: ClassVar[str] = "convnet"

    def __init__(
        self,
        shape: Sequence[int],
        channels: Sequence[int] = (16, 64),
        depths: Sequence[int] = (1, 1),
        *,
        kit: LayerKit,
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (1.0,),
    ) -> None:
        super().__init__(shape, kit, mean, std, 2 ** len(channels))
        layers: list[nn.Module] = []
        for before, width, depth in zip(
            [self.shape[0], *channels], channels, _as_many(depths, channels), strict=False
        ):
            layers.append(Unit(kit, before, width, 2, stride=2))
            layers += [Unit(kit, width, width) for _ in range(depth)]
        self.body = nn.Sequential(*layers)
        left = math.prod(self.shape[1:]) // self.stride**2
        self.mix = _flat(kit, channels[-1] * left, channels[-1:], (0,))
        self.head = Unit(kit, channels[-1], 1, 1, plain=True)

    def flow(self, flow: Flow) -> Flow:
        """Encode, lay what is left out in one pixel, mix."""
        found: Flow = self.head(self.mix(_in_one_pixel(self.body(flow))))
        return found


def _as_many(depths: Sequence[int], channels: Sequence[int]) -> Sequence[int]:
    if len(channels) != len(depths) or not channels:
        raise ModelDesign("depths", "there are not as many as channels", "give one depth per stage")
    return depths


def _flat(kit: LayerKit, inputs: int, channels: Sequence[int], depths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, width, depth in zip([inputs, *channels], channels, _as_many(depths, channels), strict=False):
        layers.append(Unit(kit, before, width, 1))
        layers += [Unit(kit, width, width, 1) for _ in range(depth)]
    return nn.Sequential(*layers)


def _in_one_pixel(flow: Flow) -> Flow:
    features, gain = flow
    return features.flatten(1)[:, :, None, None], gain

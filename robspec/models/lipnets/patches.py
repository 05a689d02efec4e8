"""Networks of disjoint patches with plain weights: every layer is one orthogonal matrix at each place.

No statistics are kept and nothing is computed from the weights, so that what one image can change of a training step
has a bound. Whoever trains one brings the weights back with `retract` after each step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from robspec.models.errors import ModelDesign
from robspec.models.lipnets.kit import LayerKit
from robspec.models.lipnets.network import SegmentationNet
from robspec.models.lipnets.score import ScoreNet
from robspec.models.lipnets.unit import Flow

Matrix = nn.Conv2d | nn.ConvTranspose2d


class PlainWeights(SegmentationNet):
    """A network whose layers are one sequence, and hold their weights themselves.

    Attributes:
        body: the layers, from the normalised image to the logits.
    """

    body: nn.Sequential

    def flow(self, flow: Flow) -> Flow:
        """Map normalised images to logits."""
        return self.body(flow[0]), 1.0

    def matrices(self) -> Iterator[Matrix]:
        """List the layers with weights."""
        yield from (layer for layer in self.body if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d))

    @torch.no_grad()
    def retract(self, shift: float = math.inf) -> None:
        """Replace each weight by the nearest orthogonal one, and shorten biases.

        Args:
            shift: l2 norm that no bias may exceed.
        """
        for layer in self.matrices():
            matrix = as_matrix(layer).double()
            u, _, v = torch.linalg.svd(matrix, full_matrices=False)
            layer.weight.copy_((u @ v).reshape(layer.weight.shape).to(layer.weight.dtype))
            if layer.bias is not None:
                size = layer.bias.double().norm().clamp_min(1e-300)
                # A little less, so that rounding does not carry it over.
                layer.bias.mul_(((1 - 1e-6) * shift / size).clamp_max(1.0).to(layer.bias.dtype))

    def _begin(self, layers: list[nn.Module]) -> None:
        """Take over the layers, orthogonal and without shifts."""
        self.body = nn.Sequential(*layers)
        for layer in self.matrices():
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        self.retract()


class LipPatches(PlainWeights):
    """Convolutions of 2x2 with stride 2 and of 1x1, MaxMin between them, transposed ones back.

    Args:
        outputs: logits per pixel.
        channels: of each stage.
        depths: further 1x1 convolutions of each stage.
        kit: gives the activation.
        mean: of the input normalisation.
        std: of the input normalisation.
        biases: whether layers add one.
    """

    architecture: ClassVar[str] = "patches"

    def __init__(
        self,
        outputs: int,
        channels: Sequence[int] = (16,),
        depths: Sequence[int] = (1,),
        *,
        kit: LayerKit,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        biases: bool = True,
    ) -> None:
        super().__init__(kit, mean, std, 2 ** len(channels))
        if len(channels) != len(depths) or not channels:
            raise ModelDesign("depths", "there are not as many as channels", "give one depth per stage")
        layers = _down(self.channels_in, channels, depths, kit, biases)
        for before, width in zip(channels[::-1], [*channels[-2::-1], channels[0]], strict=True):
            layers += [nn.ConvTranspose2d(before, width, 2, 2, bias=biases), kit.activate()]
        layers.append(nn.Conv2d(channels[0], outputs, 1, bias=biases))
        self._begin(layers)


class LipPatchClassifier(PlainWeights, ScoreNet):
    """The same way down, and one matrix over what is left: images of one shape, [B, C, H, W], to logits [B, K].

    Args:
        outputs: classes.
        shape: C, H, W, sides divisible by 2 as often as there are stages.
        channels: of each stage; none for one matrix over the whole image.
        depths: further 1x1 convolutions of each stage.
        kit: gives the activation.
        mean: of the input normalisation.
        std: of the input normalisation.
        biases: whether layers add one.
    """

    architecture: ClassVar[str] = "patches"

    def __init__(
        self,
        outputs: int,
        shape: Sequence[int],
        channels: Sequence[int] = (16,),
        depths: Sequence[int] = (1,),
        *,
        kit: LayerKit,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        biases: bool = True,
    ) -> None:
        super().__init__(shape, kit, mean, std, 2 ** len(channels))
        if len(channels) != len(depths):
            raise ModelDesign("depths", "there are not as many as channels", "give one depth per stage")
        layers = _down(self.channels_in, channels, depths, kit, biases)
        rows, columns = (side // self.stride for side in self.shape[1:])
        self._begin([*layers, nn.Conv2d([self.channels_in, *channels][-1], outputs, (rows, columns), bias=biases)])


def _down(
    inputs: int, channels: Sequence[int], depths: Sequence[int], kit: LayerKit, biases: bool
) -> list[nn.Module]:
    """Stages that halve the sides and then mix at each place."""
    layers: list[nn.Module] = []
    for before, width, depth in zip([inputs, *channels], channels, depths, strict=False):
        layers += [nn.Conv2d(before, width, 2, 2, bias=biases), kit.activate()]
        for _ in range(depth):
            layers += [nn.Conv2d(width, width, 1, bias=biases), kit.activate()]
    return layers


def as_matrix(layer: Matrix) -> Tensor:
    """Write a layer of disjoint patches as the matrix it applies to each: its norm is that of the layer."""
    return layer.weight.detach().flatten(1)

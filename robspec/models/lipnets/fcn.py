"""LipFCN: an encoder and a decoder without skips, down and up by disjoint 2x2 patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from robspec.models.errors import ModelDesign
from robspec.models.lipnets.kit import LayerKit
from robspec.models.lipnets.network import SegmentationNet
from robspec.models.lipnets.unit import Flow, Unit


class LipFCN(SegmentationNet):
    """A fully convolutional network: each stage halves the sides, then mixes; the way back mirrors it.

    A 2x2 kernel of stride 2 is an orthogonal matrix over patches, and loses nothing where a stage has at least
    four times the channels of the one before.

    Args:
        outputs: logits per pixel, K, or 1 for a binary task.
        channels: of each stage.
        depths: convolutions of 3x3 in each stage, on each way.
        kit: where the layers come from.
        mean: of the input normalisation.
        std: of the input normalisation.
        tail: factor of a bilinear interpolation in the place of the last stages on the way back; 1 for none.
    """

    architecture: ClassVar[str] = "fcn"

    def __init__(
        self,
        outputs: int,
        channels: Sequence[int] = (16, 64),
        depths: Sequence[int] = (2, 2),
        *,
        kit: LayerKit,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        tail: int = 1,
    ) -> None:
        super().__init__(kit, mean, std, 2 ** len(channels), tail)
        if len(channels) != len(depths):
            raise ModelDesign("depths", "there are not as many as channels", "give one depth per stage")
        widths = [len(mean), *channels]
        layers: list[nn.Module] = []
        for before, width, depth in zip(widths, channels, depths, strict=False):
            layers.append(Unit(kit, before, width, 2, stride=2))
            layers += [Unit(kit, width, width) for _ in range(depth)]
        # Each stage of the way back doubles the sides, the head the last time.
        last = tail.bit_length() - 1
        for k in range(len(channels) - 1, max(last - 1, 0), -1):
            width = channels[k - 1]
            layers.append(Unit(kit, channels[k], width, 2, stride=2, up=True))
            layers += [Unit(kit, width, width) for _ in range(depths[k - 1])]
        self.body = nn.Sequential(*layers)
        if tail == 1:
            self.head = Unit(kit, channels[0], outputs, 2, stride=2, up=True, plain=True)
        else:
            self.head = Unit(kit, channels[last - 1], outputs, 1, plain=True)

    def flow(self, flow: Flow) -> Flow:
        """Encode, decode, and write the logits patch by patch."""
        found: Flow = self.head(self.body(flow))
        return found

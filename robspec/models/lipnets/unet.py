"""LipUNet: at every level half of the channels skips ahead and the other half goes down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import nn

from robspec.models.errors import ModelDesign
from robspec.models.lipnets.kit import LayerKit
from robspec.models.lipnets.network import Join, SegmentationNet
from robspec.models.lipnets.unit import Flow, Unit


class LipUNet(SegmentationNet):
    """A U-Net whose skips cost nothing: the two halves are disjoint, so their concatenation is 1-Lipschitz.

    Copying a map to both sides, as an ordinary U-Net does, needs a factor of 1/sqrt(2) per level, which the margins
    would pay for.

    Args:
        outputs: logits per pixel, K, or 1 for a binary task.
        channels: of each level, finest first; where each is twice the one before, going down and up lose nothing.
        depths: convolutions of 3x3 in each level, on each way.
        kit: where the layers come from.
        mean: of the input normalisation.
        std: of the input normalisation.
    """

    architecture: ClassVar[str] = "unet"

    def __init__(
        self,
        outputs: int,
        channels: Sequence[int] = (16, 32, 64),
        depths: Sequence[int] = (1, 1, 1),
        *,
        kit: LayerKit,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__(kit, mean, std, 2 ** (len(channels) - 1))
        if len(channels) != len(depths) or len(channels) < 2:
            raise ModelDesign("depths", "one per level is needed, and two levels", "give one depth per level")
        self.entry = Unit(kit, len(mean), channels[0])
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.before, self.after = nn.ModuleList(), nn.ModuleList()
        for k, (width, depth) in enumerate(zip(channels, depths, strict=True)):
            self.before.append(nn.Sequential(*(Unit(kit, width, width) for _ in range(depth))))
            if k == len(channels) - 1:
                break
            self.down.append(Unit(kit, width // 2, channels[k + 1], 2, stride=2))
            self.up.append(Unit(kit, channels[k + 1], width - width // 2, 2, stride=2, up=True))
            self.after.append(nn.Sequential(*(Unit(kit, width, width) for _ in range(depth))))
        self.join = Join()
        self.head = Unit(kit, channels[0], outputs, 1, plain=True)

    def flow(self, flow: Flow) -> Flow:
        """Go down and up again."""
        found: Flow = self.head(self._level(0, self.entry(flow)))
        return found

    def _level(self, k: int, flow: Flow) -> Flow:
        features, gain = self.before[k](flow)
        if k == len(self.down):
            return features, gain
        skip, rest = features.chunk(2, dim=1)
        deep = self.up[k](self._level(k + 1, self.down[k]((rest, gain))))
        found: Flow = self.after[k](self.join((skip, gain), deep))
        return found

"""LipFCOS: a detector whose scores are Lipschitz, over a pyramid whose levels share no channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from robspec.models.errors import ModelDesign
from robspec.models.lipnets.kit import LayerKit
from robspec.models.lipnets.network import Join, SegmentationNet
from robspec.models.lipnets.residual import Residual
from robspec.models.lipnets.unit import Flow, Unit

SIZES: dict[int, tuple[int, tuple[int, ...], tuple[int, ...]]] = {
    64: (2, (48, 64, 96), (2, 2, 2)),
    128: (4, (48, 96, 128), (2, 2, 2)),
    256: (4, (48, 96, 192), (2, 2, 2)),
}
"""Up to this longer side: side of the patches that the stem takes, channels and residual layers of each stage."""

TOWER = 32
"""Channels of the towers."""
_TOWER_DEPTH = 2


class LipFCOS(SegmentationNet):
    """A backbone of residual stages, a pyramid, and two towers that all its levels share.

    On the way down half of a stage's channels skip ahead, as in `LipUNet`; on the way up they are joined with what
    comes from below. The map that is left is cut into as many groups of channels as there are levels, and an
    orthogonal patch convolution brings each group to its own stride: levels depend on disjoint channels of one map,
    so that their constants do not add up. Levels that read one map would cost the root of their number.

    The tower of scores is Lipschitz as well, with K scores at each location; that of boxes is free, and its constant
    is whatever it is. Boxes are centre less and plus distances, these a softplus times the stride.

    Args:
        outputs: classes.
        shape: C, H, W.
        channels: of each stage, finest first; multiples of 4, and the first one of the number of stages too.
        depths: residual layers of each stage.
        kit: where the layers come from; without gains.
        mean: of the input normalisation.
        std: of the input normalisation.
    """

    architecture: ClassVar[str] = "fcos"
    centres: Tensor
    signs: Tensor

    def __init__(
        self,
        outputs: int,
        shape: Sequence[int],
        channels: Sequence[int] = (),
        depths: Sequence[int] = (),
        *,
        kit: LayerKit,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        side = max(shape[1:])
        patch, usual, deep = SIZES[next((s for s in SIZES if side <= s), max(SIZES))]
        channels, depths = channels or usual, depths or deep
        levels = len(channels)
        super().__init__(kit, mean, std, patch * 2**levels)
        self.shape = tuple(shape)
        if len(depths) != levels or levels < 2 or channels[0] % levels:
            raise ModelDesign(
                "channels",
                f"{list(channels)} with depths {list(depths)} are not two stages or more, the first "
                f"divisible by {levels}",
                "give as many depths as channels, and a first width that the levels share",
            )
        self.strides = tuple(patch * 2 ** (k + 1) for k in range(levels))
        self.stem = Unit(kit, self.channels_in, channels[0] // 2, patch, stride=patch)
        self.stages, self.up, self.after = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        before = channels[0] // 2
        for k, (width, depth) in enumerate(zip(channels, depths, strict=True)):
            down = Unit(kit, before, width, 2, stride=2)
            self.stages.append(nn.Sequential(down, *(Residual(kit, width) for _ in range(depth))))
            before = width // 2
            if k:
                finer = channels[k - 1]
                self.up.append(Unit(kit, width, finer - finer // 2, 2, stride=2, up=True))
                self.after.append(Unit(kit, finer, finer))
        self.join = Join()
        share = channels[0] // levels
        self.levels = nn.ModuleList(Unit(kit, share, TOWER, 2**k, stride=2**k, plain=True) for k in range(levels))
        self.scoring = nn.Sequential(*(Unit(kit, TOWER, TOWER, shared=True) for _ in range(_TOWER_DEPTH)))
        self.score = Unit(kit, TOWER, outputs, 1, plain=True)
        free = replace(kit, lipschitz=False)
        self.boxing = nn.Sequential(*(Unit(free, TOWER, TOWER, shared=True) for _ in range(_TOWER_DEPTH)))
        self.box = Unit(free, TOWER, 4, plain=True)
        centres = torch.cat([_centres(s, *self.shape[1:]) for s in self.strides], dim=1)
        self.register_buffer("centres", torch.cat([centres, centres]), persistent=False)
        self.register_buffer("signs", torch.tensor([-1.0, -1.0, 1.0, 1.0])[:, None], persistent=False)

    def flow(self, flow: Flow) -> Flow:
        """Give the map that the levels share."""
        skips: list[Flow] = []
        flow = self.stem(flow)
        for k, stage in enumerate(self.stages):
            flow = stage(flow)
            if k + 1 < len(self.stages):
                features, gain = flow
                skip, rest = features.chunk(2, dim=1)
                skips.append((skip, gain))
                flow = rest, gain
        for skipped, up, after in zip(reversed(skips), reversed(self.up), reversed(self.after), strict=True):
            flow = after(self.join(skipped, up(flow)))
        return flow

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Compute scores and boxes.

        Args:
            image: [B, C, H, W] in the units of the declared input.

        Returns:
            Scores [B, K, N], logits, and boxes [B, 4, N], left, top, right, bottom in pixels; levels follow each
            other, the finest first, each row by row.
        """
        features, gain = self.flow(((image - self.mean) * self.inverse, 1.0))
        scores, distances = [], []
        for part, level, stride in zip(
            features.chunk(len(self.levels), dim=1), self.levels, self.strides, strict=True
        ):
            flow = level((part, gain))
            scores.append(self.score(self.scoring(flow))[0].flatten(2))
            distances.append(nn.functional.softplus(self.box(self.boxing(flow))[0]).flatten(2) * float(stride))
        boxes = self.centres + self.signs * torch.cat(distances, dim=2)
        return torch.cat(scores, dim=2), boxes

    def probe(self) -> Tensor:
        """See `SegmentationNet.probe`: the one shape there is, two images."""
        return torch.rand(2, *self.shape, generator=torch.Generator().manual_seed(0))


def _centres(stride: int, height: int, width: int) -> Tensor:
    """Centres of the locations of a level, x and y, [2, N], row by row."""
    y, x = (stride * (torch.arange(side // stride) + 0.5) for side in (height, width))
    return torch.stack(torch.meshgrid(x, y, indexing="xy")).flatten(1)

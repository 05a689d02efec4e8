"""LipDeepLabV3: strided stages, four dilated branches of one map, and transposed convolutions back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from robspec.models.lipnets.kit import LayerKit
from robspec.models.lipnets.network import SegmentationNet
from robspec.models.lipnets.unit import Flow, Unit

Stage = tuple[int, int]

SIZES: dict[str, tuple[Stage, ...]] = {
    "S": ((32, 3), (64, 3), (128, 3)),
    "M1": ((64, 5), (128, 5), (256, 5)),
    "M2": ((64, 5), (128, 5), (256, 5), (512, 5)),
    "L": ((64, 5), (64, 5), (128, 5), (128, 5), (256, 5), (256, 5), (512, 5)),
    "XL": ((128, 5), (256, 5), (512, 5), (1024, 5), (2048, 5)),
}
"""Channels and convolutions of each stage. A stage halves the sides if it is wider than the one before, and the
first does, up to four times in all; L repeats a width before it doubles it."""

_MOST_HALVINGS = 4
_DILATIONS = (6, 12, 18)
_NARROWEST = 16


class LipDeepLabV3(SegmentationNet):
    """DeepLabV3 of orthogonal layers.

    The branches, a 1x1 and three dilated 3x3 convolutions, are isometries of the same map; their concatenation
    divided by the root of their number is one too. The projection that follows carries that factor.

    Args:
        outputs: logits per pixel, K, or 1 for a binary task.
        stages: channels and convolutions of each stage, as in `SIZES`.
        kit: where the layers come from.
        mean: of the input normalisation.
        std: of the input normalisation.
        tail: factor of a bilinear interpolation in the place of the last transposed convolutions; 1 for none.
    """

    architecture: ClassVar[str] = "deeplabv3"

    def __init__(
        self,
        outputs: int,
        stages: Sequence[Stage] = SIZES["S"],
        *,
        kit: LayerKit,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (1.0, 1.0, 1.0),
        tail: int = 1,
    ) -> None:
        halving = halvings([width for width, _ in stages])
        super().__init__(kit, mean, std, 2 ** sum(halving), tail)
        layers: list[nn.Module] = []
        widths: list[int] = []
        before = len(mean)
        for (width, depth), halves in zip(stages, halving, strict=True):
            if halves:
                widths.append(width)
            layers.append(Unit(kit, before, width, stride=2 if halves else 1))
            layers += [Unit(kit, width, width) for _ in range(depth - 1)]
            before = width
        self.encoder = nn.Sequential(*layers)
        self.branches = nn.ModuleList([Unit(kit, before, before, 1, plain=True, bias=False)])
        for dilation in _DILATIONS:
            self.branches.append(Unit(kit, before, before, dilation=dilation, plain=True, bias=False))
        count = len(self.branches)
        self.projection = Unit(kit, count * before, before, 1, scale=count**-0.5)
        back: list[nn.Module] = [Unit(kit, before, before)]
        ups = [*reversed(widths[:-1]), max(_NARROWEST, widths[0] // 2)]
        for width in ups[: len(ups) - (tail.bit_length() - 1)]:
            back.append(Unit(kit, before, width, 2, stride=2, up=True))
            before = width
        self.decoder = nn.Sequential(*back)
        self.head = Unit(kit, before, outputs, 1, plain=True)

    def flow(self, flow: Flow) -> Flow:
        """Encode, look at four scales at once, decode."""
        encoded: Flow = self.encoder(flow)
        seen = torch.cat([branch(encoded)[0] for branch in self.branches], dim=1)
        found: Flow = self.head(self.decoder(self.projection((seen, encoded[1]))))
        return found


def halvings(widths: Sequence[int]) -> list[bool]:
    """Decide which stages halve the sides.

    Args:
        widths: channels of each stage.

    Returns:
        True for the first stage and each wider one, up to four.
    """
    found: list[bool] = []
    for k, width in enumerate(widths):
        found.append(sum(found) < _MOST_HALVINGS and (k == 0 or width > widths[k - 1]))
    return found

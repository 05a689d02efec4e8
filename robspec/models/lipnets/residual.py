"""Residual layers that expand nothing: a x + (1 - a) f(x) with an orthogonal f."""

from __future__ import annotations

import math

import torch
from torch import nn

from robspec.models.lipnets.kit import LayerKit
from robspec.models.lipnets.unit import Flow, Unit

_FIRST_SHARE = 0.2
"""Of x before training: averages of unlike maps shrink, so that the layer begins near f."""


class Residual(nn.Module):
    """Two convolutions and a way around them: a x + (1 - a) f(x), a learned, or x + f(x) with the other kit.

    A mean of x and of f(x), weighted in any way, moves at most as far as the one of them that moves further.

    Args:
        kit: where the layers come from; without gains.
        channels: of input and output.
    """

    def __init__(self, kit: LayerKit, channels: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(Unit(kit, channels, channels), Unit(kit, channels, channels))
        first = math.log(_FIRST_SHARE / (1 - _FIRST_SHARE))
        self.share = nn.Parameter(torch.tensor(first)) if kit.lipschitz else None

    def forward(self, flow: Flow) -> Flow:
        """Map features; the gain stays 1."""
        features, gain = flow
        found, _ = self.inner(flow)
        if self.share is None:
            return features + found, gain
        return torch.sigmoid(self.share) * features + torch.sigmoid(-self.share) * found, gain

"""The runway segmenter: each layer is orthogonal or sorts pairs, so the network is 1-Lipschitz in l2."""

from __future__ import annotations

import torch
from orthogonium.layers import AdaptiveOrthoConv2d, AdaptiveOrthoConvTranspose2d, MaxMin
from torch import nn


class Centre(nn.Module):
    """Moves the centre of [0, 1] to 0, which changes no distance."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Subtract one half."""
        return image - 0.5


def _mix(channels_in: int, channels_out: int, size: int = 3) -> list[nn.Module]:
    padding = size // 2
    convolution = AdaptiveOrthoConv2d(channels_in, channels_out, size, padding=padding, padding_mode="zeros")
    return [convolution, MaxMin()]


def build() -> nn.Module:
    """Build the network.

    Returns:
        A module from images [B, 3, H, W] in [0, 1] to logits [B, 2, H, W]; H and W divisible by 4.
    """
    return nn.Sequential(
        Centre(),
        AdaptiveOrthoConv2d(3, 12, 2, stride=2, padding=0, padding_mode="zeros"),
        *_mix(12, 16),
        *_mix(16, 16),
        AdaptiveOrthoConv2d(16, 64, 2, stride=2, padding=0, padding_mode="zeros"),
        MaxMin(),
        *_mix(64, 64),
        *_mix(64, 64),
        *_mix(64, 64),
        *_mix(64, 64),
        AdaptiveOrthoConvTranspose2d(64, 16, 2, stride=2),
        MaxMin(),
        *_mix(16, 16),
        *_mix(16, 16),
        AdaptiveOrthoConvTranspose2d(16, 2, 2, stride=2),
    )

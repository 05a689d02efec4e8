"""Activations that permute entries, hence keep every l_r distance from growing: MaxMin and GroupSort."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robspec.models.errors import ModelDesign


class MaxMin(nn.Module):
    """Order channel i against channel i + C/2: the larger ones first, then the smaller ones."""

    def forward(self, features: Tensor) -> Tensor:
        """Order the pairs.

        Args:
            features: [B, C, H, W], C even.

        Returns:
            The same shape.
        """
        first, second = features.chunk(2, dim=1)
        return torch.cat([torch.maximum(first, second), torch.minimum(first, second)], dim=1)


class SecondHalfAbsolute(nn.Module):
    """MaxMin between two rotations: the larger and the smaller of a and b are (s + |d|)/sqrt 2 and (s - |d|)/sqrt 2.

    Here s = (a + b)/sqrt 2 and d = (a - b)/sqrt 2. The rotations fold into the convolutions before and after, and one
    entrywise operation is left, a rectifier of slope -1 for the negative entries of the second half of the channels.

    Args:
        channels: of the features, even.
    """

    slopes: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = torch.ones(channels // 2)
        self.register_buffer("slopes", torch.cat([half, -half]))

    def forward(self, features: Tensor) -> Tensor:
        """Take the absolute value of the second half of the channels, [B, C, H, W]."""
        found: Tensor = nn.functional.prelu(features, self.slopes)
        return found


def rotated(weight: Tensor, dim: int) -> Tensor:
    """Bring channels i and i + C/2 to their sum and their difference, over sqrt 2.

    Args:
        weight: any shape, even along `dim`.
        dim: where its channels are.

    Returns:
        The same shape; the map is orthogonal and its own inverse.
    """
    first, second = weight.double().chunk(2, dim=dim)
    both = torch.cat([first + second, first - second], dim=dim)
    return both.mul(0.5**0.5).to(weight.dtype)


class GroupSort(nn.Module):
    """Sort each group of neighbouring channels.

    Args:
        size: channels per group.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, features: Tensor) -> Tensor:
        """Sort the groups.

        Args:
            features: [B, C, H, W], C a multiple of the group's size.

        Returns:
            The same shape.
        """
        channels, *sides = features.shape[1:]
        groups = features.reshape(-1, channels // self.size, self.size, *sides)
        return groups.sort(dim=2).values.reshape(-1, channels, *sides)


def activation(name: str) -> nn.Module:
    """Build an activation from its name.

    Args:
        name: "maxmin", or "groupsort" with the group's size, such as "groupsort4".

    Returns:
        A module that is 1-Lipschitz in every l_r.

    Raises:
        ModelDesign: E0216, no such activation.
    """
    if name == "maxmin":
        return MaxMin()
    size = name.removeprefix("groupsort")
    if name.startswith("groupsort") and size.isascii() and size.isdigit() and 2 <= int(size[:4]) <= 64:
        return GroupSort(int(size))
    raise ModelDesign(
        "activation", f"there is no activation {name[:40]!r}", "write maxmin, or groupsort2 to groupsort64"
    )

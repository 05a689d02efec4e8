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
        if self.training:
            first, second = features.chunk(2, dim=1)
            return torch.cat([torch.maximum(first, second), torch.minimum(first, second)], dim=1)
        # The same numbers without selections, of which the prover follows only the last few (LipUNet's skips).
        pairs = features.reshape(-1, 2, features.shape[1] // 2, *features.shape[2:])
        return torch.cat([pairs.amax(dim=1), pairs.amin(dim=1)], dim=1)


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

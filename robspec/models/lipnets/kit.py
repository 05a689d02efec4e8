"""The two kits of layers one builder draws from: Lipschitz by design, or unconstrained."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from torch import nn

from robspec import extras
from robspec.models.lipnets.activations import activation

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    extras.require("train", "orthogonal layers")
    from orthogonium.layers import AdaptiveOrthoConv2d, AdaptiveOrthoConvTranspose2d


@dataclass(frozen=True, slots=True)
class LayerKit:
    """Orthogonal convolutions, centring and sorting; or convolutions, batch norm and ReLU.

    Args:
        lipschitz: True for the layers that are 1-Lipschitz in l2 by design.
        activation: "maxmin" or "groupsort" with a size; ReLU where `lipschitz` is False.
        rms_scaling: give each layer a positive gain that brings its output to a root mean square of 1 while
            training; it cancels, and is gone from the settled network.
    """

    lipschitz: bool = True
    activation: str = "maxmin"
    rms_scaling: bool = False

    def convolution(self, channels_in: int, channels_out: int, size: int, stride: int, dilation: int) -> nn.Conv2d:
        """Build a convolution without bias, zero-padded so that the map shrinks by the stride alone.

        A kernel as large as its stride reads disjoint patches and takes no padding.
        """
        padding = 0 if size == stride else dilation * (size // 2)
        if not self.lipschitz:
            return nn.Conv2d(channels_in, channels_out, size, stride, padding, dilation, bias=False)
        layer: nn.Conv2d = AdaptiveOrthoConv2d(
            channels_in,
            channels_out,
            size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            bias=False,
            padding_mode="zeros",
        )
        return layer

    def transposed(self, channels_in: int, channels_out: int, size: int) -> nn.ConvTranspose2d:
        """Build a transposed convolution without bias whose stride is its size: disjoint patches are written."""
        if not self.lipschitz:
            return nn.ConvTranspose2d(channels_in, channels_out, size, size, bias=False)
        layer: nn.ConvTranspose2d = AdaptiveOrthoConvTranspose2d(
            channels_in, channels_out, size, stride=size, bias=False
        )
        return layer

    def activate(self) -> nn.Module:
        """Build the activation."""
        return activation(self.activation) if self.lipschitz else nn.ReLU()

"""The building block: convolution, centring or batch norm, activation."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from robspec.models.lipnets.activations import SecondHalfAbsolute, rotated
from robspec.models.lipnets.kit import LayerKit

Gain: TypeAlias = Tensor | float
Flow: TypeAlias = tuple[Tensor, Gain]
"""Features [B, C, H, W], and the gain they carry: they are that positive number times what the proof speaks of."""

_LEAST = 1e-6
_MOST_READINGS = 40
_STEADY = 1e-6


class Unit(nn.Module):
    """Convolution, shift, activation: 1-Lipschitz in l2 with the Lipschitz kit.

    The shift is a learned bias less the running mean of each channel. It comes before the activation, so that
    in the settled network it is the bias of the convolution and costs nothing.

    Args:
        kit: where the layers come from.
        channels_in: of the input.
        channels_out: of the output.
        size: side of the kernel.
        stride: of the convolution; of the transposed one where `up`, and then equal to `size`.
        dilation: of the convolution.
        up: use the transposed convolution.
        plain: no normalisation and no activation, as for a branch or a head.
        bias: whether a plain unit has a bias.
        shared: a bias in place of centring and batch norm, as several maps of unlike statistics pass through.
        scale: constant factor of the convolution's output with the Lipschitz kit.
    """

    rms: Tensor

    def __init__(
        self,
        kit: LayerKit,
        channels_in: int,
        channels_out: int,
        size: int = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        up: bool = False,
        plain: bool = False,
        bias: bool = True,
        shared: bool = False,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if up:
            self.convolution: Any = kit.transposed(channels_in, channels_out, size)
        else:
            self.convolution = kit.convolution(channels_in, channels_out, size, stride, dilation)
        self.scale = scale if kit.lipschitz else 1.0
        self.settled = False
        self.scaled = kit.rms_scaling and kit.lipschitz and not plain
        self.activation: nn.Module = nn.Identity() if plain else kit.activate()
        self.norm: nn.Module
        if plain or shared:
            self.norm = Shift(channels_out) if bias else nn.Identity()
        else:
            self.norm = Centring(channels_out) if kit.lipschitz else nn.BatchNorm2d(channels_out)
        if self.scaled:
            self.register_buffer("rms", torch.ones(()))

    def forward(self, flow: Flow) -> Flow:
        """Map features and their gain.

        Args:
            flow: see `Flow`.

        Returns:
            The unit's features and the gain they carry.
        """
        features, gain = flow
        if self.settled:
            return self.activation(self.convolution(features)), gain
        found = self._convolved(features)
        if self.scaled:
            found, gain = self._scaled(found, gain)
        found = self.norm(found, gain) if isinstance(self.norm, Shift) else self.norm(found)
        return self.activation(found), gain

    def freeze(self) -> None:
        """Put a plain convolution in place of the orthogonalised one, with its weight once that stays.

        Each reading advances the power iteration inside the orthogonalisation, and is what takes the time in wide
        layers: the last one is kept.
        """
        layer = self.convolution
        with torch.no_grad():
            weight: Tensor = layer.weight.clone()
            for _ in range(_MOST_READINGS):
                before, weight = weight, layer.weight.clone()
                if bool((weight - before).abs().max() <= _STEADY):
                    break
            self.convolution = _plain(layer, weight, torch.zeros(0), has_bias=False)

    def settle(self, gain: float, *, rotated_in: bool = False, rotated_out: bool = False) -> float:
        """Turn into a plain convolution with bias, and an activation; the network must be in evaluation mode.

        Args:
            gain: what the features it is given carry.
            rotated_in: whether the settled units before leave the last rotation of their MaxMin to this one.
            rotated_out: whether this one, with MaxMin, leaves it to those behind; see `SecondHalfAbsolute`.

        Returns:
            The gain its output carried; the settled network carries none.
        """
        layer, norm = self.convolution, self.norm
        with torch.no_grad():
            weight: Tensor = layer.weight.detach().clone() * self.scale
            channels = weight.shape[1] if isinstance(layer, nn.ConvTranspose2d) else weight.shape[0]
            bias = torch.zeros(channels)
            if self.scaled:
                gain /= float(self.rms)
            if isinstance(norm, Shift):
                bias = norm.value().clone()
            elif isinstance(norm, Centring):
                bias = norm.value() / gain
            elif isinstance(norm, nn.BatchNorm2d):
                weight, bias = _folded(norm, weight, transposed=isinstance(layer, nn.ConvTranspose2d))
            transposed = isinstance(layer, nn.ConvTranspose2d)
            if rotated_in:
                weight = rotated(weight, 0 if transposed else 1)
            if rotated_out:
                weight, bias = rotated(weight, 1 if transposed else 0), rotated(bias, 0)
                self.activation = SecondHalfAbsolute(channels)
            self.convolution = _plain(layer, weight, bias, has_bias=not isinstance(norm, nn.Identity))
        self.norm = nn.Identity()
        self.settled = True
        return gain

    def _convolved(self, features: Tensor) -> Tensor:
        """Convolve; under autocast the orthogonalisation of the weight stays in its own precision."""
        layer = self.convolution
        with torch.autocast("cuda" if features.is_cuda else "cpu", enabled=False):
            weight = layer.weight
        if isinstance(layer, nn.ConvTranspose2d):
            found = nn.functional.conv_transpose2d(features, weight, None, layer.stride)
        else:
            found = nn.functional.conv2d(features, weight, None, layer.stride, layer.padding, layer.dilation)
        return found if self.scale == 1.0 else found * self.scale

    def _scaled(self, found: Tensor, gain: Gain) -> Flow:
        if self.training:
            with torch.no_grad():
                now = found.detach().float().square().mean().sqrt()
                self.rms.mul_(0.9).add_(now.clamp_min(_LEAST), alpha=0.1)
        return found / self.rms, gain / self.rms


class Centring(nn.Module):
    """Subtract each channel's running mean and add a learned bias: a translation, which changes no distance.

    Args:
        channels: of the features.
        momentum: of the running mean.
    """

    mean: Tensor

    def __init__(self, channels: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))

    def value(self) -> Tensor:
        """What is added to each channel, [C]."""
        return self.bias - self.mean

    def forward(self, features: Tensor) -> Tensor:
        """Shift the features; in training mode the running mean moves first."""
        if self.training:
            with torch.no_grad():
                now = features.detach().float().mean(dim=(0, 2, 3))
                self.mean.mul_(1 - self.momentum).add_(now, alpha=self.momentum)
        return features + self.value()[:, None, None]


class Shift(nn.Module):
    """A bias in the units of the logits: it takes the gain off the features first.

    Args:
        channels: of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(channels))

    def value(self) -> Tensor:
        """What is added to each channel, [C]."""
        return self.bias

    def forward(self, features: Tensor, gain: Gain) -> Tensor:
        """Divide by the gain and add the bias."""
        own = features if isinstance(gain, float) else features / gain
        return own + self.bias[:, None, None]


def _folded(norm: nn.BatchNorm2d, weight: Tensor, *, transposed: bool) -> tuple[Tensor, Tensor]:
    """A batch norm in evaluation mode, folded into the convolution before it."""
    mean: Any = norm.running_mean
    variance: Any = norm.running_var
    factor = norm.weight / (variance + norm.eps).sqrt()
    spread = factor[None, :, None, None] if transposed else factor[:, None, None, None]
    return weight * spread, norm.bias - mean * factor


def _plain(layer: nn.Module, weight: Tensor, bias: Tensor, *, has_bias: bool) -> nn.Module:
    fresh: nn.Conv2d | nn.ConvTranspose2d
    old: Any = layer
    if isinstance(layer, nn.ConvTranspose2d):
        fresh = nn.ConvTranspose2d(
            weight.shape[0], weight.shape[1], old.kernel_size, old.stride, bias=has_bias, device="meta"
        )
    else:
        fresh = nn.Conv2d(
            weight.shape[1],
            weight.shape[0],
            old.kernel_size,
            old.stride,
            old.padding,
            old.dilation,
            bias=has_bias,
            device="meta",
        )
    fresh.weight = nn.Parameter(weight.detach().contiguous(), requires_grad=False)
    if has_bias:
        fresh.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return fresh

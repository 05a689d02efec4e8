"""What the architectures share: input normalisation, the design constant, and settling for export."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from robspec.models.errors import ModelDesign
from robspec.models.lipnets.activations import MaxMin
from robspec.models.lipnets.kit import LayerKit
from robspec.models.lipnets.residual import Residual
from robspec.models.lipnets.unit import Flow, Unit

_SETTLED = 1e-3
"""What settling may change, relative: rounding, never a rotation that one reader of a map was not told of."""


class SegmentationNet(nn.Module, ABC):
    """A network from images [B, C, H, W] to logits [B, K, H, W], of unconstrained or Lipschitz layers.

    With the Lipschitz kit every part after the normalisation is 1-Lipschitz in l2, so the constant is that of the
    normalisation, 1/min(std).

    Args:
        kit: where the layers come from.
        mean: per channel, subtracted from the image.
        std: per channel, what the image is divided by.
        stride: what the sides of the image must be divisible by.
        tail: factor of a bilinear interpolation that ends it, 1 for none; it divides the stride.
    """

    architecture: ClassVar[str] = ""
    mean: Tensor
    inverse: Tensor

    def __init__(
        self, kit: LayerKit, mean: Sequence[float], std: Sequence[float], stride: int, tail: int = 1
    ) -> None:
        super().__init__()
        if tail < 1 or stride % tail or tail & (tail - 1):
            raise ModelDesign(
                "model.tail",
                f"sides are halved to one in {stride}, and are to be brought back by a factor of {tail}",
                "give the network more stages, or a smaller factor",
            )
        if len(mean) != len(std) or not mean or not all(s > 0 for s in std):
            raise ModelDesign(
                "normalisation",
                f"mean {list(mean)} and std {list(std)} do not fit together",
                "give one mean and one positive std per channel",
            )
        self.kit = kit
        self.stride = stride
        self.channels_in = len(mean)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None])
        self.register_buffer("inverse", (1.0 / torch.tensor(std, dtype=torch.float64)).float()[:, None, None])
        self.tail = tail
        self.design_lipschitz: float | None = tail / min(std) if kit.lipschitz else None
        """The l2 constant, image to logits, in exact arithmetic; None without the Lipschitz kit. Before the
        interpolation, which stretches by its factor at most, it is 1 / min(std)."""

    @abstractmethod
    def flow(self, flow: Flow) -> Flow:
        """Map normalised images to logits; each architecture has its own."""

    def forward(self, image: Tensor) -> Tensor:
        """Compute the logits.

        Args:
            image: [B, C, H, W] in the units of the declared input, sides divisible by `stride`.

        Returns:
            [B, K, H, W].
        """
        found = self.flow(((image - self.mean) * self.inverse, 1.0))[0]
        if self.tail > 1:
            found = functional.interpolate(found, scale_factor=self.tail, mode="bilinear")
        return found

    def probe(self) -> Tensor:
        """Draw images of a shape it takes, always the same: what `settled` compares with."""
        side = 4 * self.stride
        return torch.rand(1, self.channels_in, side, side, generator=torch.Generator().manual_seed(0))

    def settled(self) -> Self:
        """Copy the network as plain convolutions with biases: orthogonalised once, shifts and gains folded in.

        Returns:
            The copy, in evaluation mode; it computes what this network computes in evaluation mode up to rounding.

        Raises:
            RuntimeError: it does not.
        """
        plain = copy.deepcopy(self).eval()
        units = [module for module in plain.modules() if isinstance(module, Unit)]
        for unit in units:
            unit.freeze()
        image = self.probe()
        seen: dict[Unit, tuple[Flow, Flow]] = {}
        read: list[Tensor] = []
        hooks = [unit.register_forward_hook(_recording(seen)) for unit in units]
        hooks += [
            module.register_forward_pre_hook(lambda _, given: read.append(given[0][0]))
            for module in plain.modules()
            if isinstance(module, Residual)
        ]
        with torch.no_grad():
            expected = _outputs(plain(image))
        for hook in hooks:
            hook.remove()
        # Kept alive in `seen`, no two tensors share an identity. What a sum reads as it is stays as it is.
        makers = {id(out[0]): unit for unit, (_, out) in seen.items() if isinstance(unit.activation, MaxMin)}
        for features in read:
            makers.pop(id(features), None)
        sources = {unit: makers.get(id(given[0])) for unit, (given, _) in seen.items()}
        followed = {maker for maker in sources.values() if maker is not None}
        for unit in units:
            gain = float(seen[unit][0][1])
            unit.settle(gain, rotated_in=sources[unit] is not None, rotated_out=unit in followed)
        with torch.no_grad():
            for found, wanted in zip(_outputs(plain(image)), expected, strict=True):
                difference = float((found - wanted).abs().max())
                if not difference <= _SETTLED * (1 + float(wanted.abs().max())):
                    raise RuntimeError(f"settling changed what the network computes, by {difference}")
        return plain


class Join(nn.Module):
    """Concatenate two branches of disjoint parents, brought to one gain first.

    Where the branches read disjoint channels of one map, the whole is as Lipschitz as the worse of the two.
    """

    def forward(self, skip: Flow, deep: Flow) -> Flow:
        """Put the skip branch before the deep one.

        Returns:
            Both, carrying the gain of the deep branch.
        """
        features, gain = skip
        if not (isinstance(gain, float) and isinstance(deep[1], float)):
            features = features * (deep[1] / gain)
        return torch.cat([features, deep[0]], dim=1), deep[1]


def _outputs(found: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (found,) if isinstance(found, Tensor) else found


def _recording(seen: dict[Unit, tuple[Flow, Flow]]) -> Callable[[nn.Module, tuple[Flow], Flow], None]:
    def hook(module: nn.Module, given: tuple[Flow], out: Flow) -> None:
        if isinstance(module, Unit):
            seen[module] = given[0], out

    return hook


def check_channels(channels: Sequence[int], divisor: int, where: str) -> None:
    """Make sure that channels can be grouped.

    Raises:
        ModelDesign: E0216, one is not a positive multiple of the divisor, or there is none.
    """
    wrong = [c for c in channels if c < 1 or c % divisor]
    if wrong or not channels:
        raise ModelDesign(
            where,
            f"channels {list(channels)} must be multiples of {divisor}",
            f"round them to multiples of {divisor}",
        )

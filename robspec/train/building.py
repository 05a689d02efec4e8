"""The network a configuration describes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from robspec.models.errors import ModelDesign
from robspec.models.lipnets.activations import activation
from robspec.models.lipnets.deeplab import SIZES, LipDeepLabV3
from robspec.models.lipnets.fcn import LipFCN
from robspec.models.lipnets.fcos import TOWER, LipFCOS
from robspec.models.lipnets.kit import LayerKit
from robspec.models.lipnets.network import SegmentationNet, check_channels
from robspec.models.lipnets.patches import LipPatchClassifier, LipPatches
from robspec.models.lipnets.score import LipConvNet, LipMLP
from robspec.models.lipnets.unet import LipUNet
from robspec.train.config import DETECTING, PRIVATE, SCORING, Config


def check_design(config: Config) -> None:
    """Refuse a network that cannot be built, before any work is done.

    Raises:
        ModelDesign: E0216.
    """
    activation(config.model.activation)
    with torch.device("meta"):
        # The twin has the same shape and needs no numbers to be built.
        build(replace(config, model=replace(config.model, lipschitz=False)))


def build(config: Config) -> SegmentationNet:
    """Build the network, with weights from torch's current random state.

    Args:
        config: sections `model`, `data` and `augment`.

    Returns:
        The network, in training mode.

    Raises:
        ModelDesign: E0216.
    """
    model = config.model
    kit = LayerKit(model.lipschitz, model.activation, model.rms_scaling)
    where = f"{config.path}: model.channels"
    group = int(model.activation.removeprefix("groupsort") or 0) if model.activation[9:].isdigit() else 2
    if model.channels:
        halved = model.architecture in ("unet", DETECTING)
        check_channels(model.channels, 2 * group if halved else group, where)
    network: SegmentationNet
    if model.architecture == "deeplabv3":
        stages = tuple(zip(model.channels, model.depths, strict=True)) or SIZES[model.size or "S"]
        if any(depth < 1 for _, depth in stages):
            raise ModelDesign(where, "a stage without a convolution", "give each stage a depth of 1 or more")
        network = LipDeepLabV3(config.outputs, stages, kit=kit, mean=model.mean, std=model.std, tail=config.tail)
    elif model.architecture in SCORING:
        scoring: type[LipMLP | LipConvNet] = LipMLP if model.architecture == "mlp" else LipConvNet
        network = scoring(config.data.input, model.channels, model.depths, kit=kit, mean=model.mean, std=model.std)
    elif model.architecture == PRIVATE:
        biases = not config.private or config.privacy.bias_bound > 0
        how: dict[str, Any] = {"kit": kit, "mean": model.mean, "std": model.std, "biases": biases}
        if config.classification:
            widths, depths = model.channels, model.depths
            _check_sides(config, 2 ** len(widths))
            network = LipPatchClassifier(config.outputs, config.data.input, widths, depths, **how)
        else:
            network = LipPatches(config.outputs, model.channels or (16,), model.depths or (1,), **how)
    elif model.architecture == DETECTING:
        check_channels((TOWER,), group, f"{config.path}: model.activation, towers")
        network = LipFCOS(
            config.outputs,
            config.data.input,
            model.channels,
            model.depths,
            kit=kit,
            mean=model.mean,
            std=model.std,
        )
    else:
        shape = {"channels": model.channels, "depths": model.depths} if model.channels else {}
        if model.architecture == "fcn":
            network = LipFCN(config.outputs, **shape, kit=kit, mean=model.mean, std=model.std, tail=config.tail)
        else:
            network = LipUNet(config.outputs, **shape, kit=kit, mean=model.mean, std=model.std)
    _check_sides(config, network.stride)
    return network.train()


def _check_sides(config: Config, stride: int) -> None:
    sides = {"data.input": config.data.input[1:], "augment.crop": config.augment.crop}
    for name, given in sides.items():
        if any(side % stride for side in given):
            raise ModelDesign(
                str(config.path),
                f"`{name}` {list(given)} is not divisible by the network's stride of {stride}",
                f"give multiples of {stride}, or fewer `channels`: images are never resized",
            )

"""Time of a step: ordinary, with noise from bounds, and with clipped gradients, one after the other in one run."""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.private import clipped
from robspec.models.lipnets.patches import LipPatches
from robspec.train.building import build
from robspec.train.config import Config, read_config
from robspec.train.losses import loss
from robspec.train.private import PrivateSteps

CONFIG = """[run]
epochs = 1
batch = {batch}
threads = 1
[model]
architecture = "patches"
channels = {channels}
depths = {depths}
[data]
input = [3, {side}, {side}]
classes = ["background", "runway"]
train_scenes = 1
val_scenes = 1
[privacy]
noise = 1000
norm_bound = 12
"""
_WARM = 3


@dataclass(frozen=True, slots=True)
class Times:
    """Median seconds of processor time of a step.

    Args:
        what: the network.
        ordinary: forward, backward and optimizer.
        bounds: charge, gradients in whole numbers, noise, optimizer, retraction and its check.
        clipped: by opacus, or None.
        ratios: medians over ordinary ones next to them, in the same order.
    """

    what: str
    ordinary: float
    bounds: float
    clipped: float | None
    ratios: tuple[float, ...]


def measure(channels: tuple[int, ...], side: int, batch: int, repeat: int) -> Times:
    """Time steps of a segmenter on random images, each sample drawn with probability 1."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        values = {"batch": batch, "channels": list(channels), "depths": [1] * len(channels), "side": side}
        (folder / "steps.toml").write_text(CONFIG.format(**values))
        config = read_config(folder / "steps.toml")
        torch.manual_seed(0)
        network = build(config)
        if not isinstance(network, LipPatches):
            raise TypeError("not the network of the configuration")
        images = torch.rand(batch, 3, side, side)
        labels = (images[:, 0] > 0.5).long()
        other, third = copy.deepcopy(network), copy.deepcopy(network)
        plain = torch.optim.SGD(other.parameters(), lr=0.1)

        def ordinary() -> None:
            plain.zero_grad()
            loss(other(images), labels, config.loss).backward()  # type: ignore[no-untyped-call]
            plain.step()

        rounds: list[Callable[[], None]] = [ordinary]
        rounds.append(_private(config, copy.deepcopy(network), images, labels, folder))
        if clipped.installed():
            rounds.append(_clipped(third, images, labels))
        taken: list[list[float]] = [[] for _ in rounds]
        for k in range(repeat + _WARM):
            for found, step in zip(taken, rounds, strict=True):
                began = time.process_time()
                step()
                if k >= _WARM:
                    found.append(time.process_time() - began)
    ratios = [statistics.median(a / b for a, b in zip(part, taken[0], strict=True)) for part in taken[1:]]
    medians = [*map(statistics.median, taken), None]
    what = f"{' and '.join(map(str, channels))} channels, {batch} images of {side} x {side}"
    return Times(what, medians[0] or 0, medians[1] or 0, medians[2], tuple(ratios))


def _private(config: Config, network: LipPatches, images: Tensor, labels: Tensor, folder: Path) -> Callable[[], None]:
    steps = PrivateSteps(config, network, len(images), 1000, folder, 0, {})
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)

    def step() -> None:
        steps.gradients(lambda indices: (images[indices], labels[indices]))
        optimizer.step()
        steps.retract()

    return step


def _clipped(network: LipPatches, images: Tensor, labels: Tensor) -> Callable[[], None]:
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    module = GradSampleModule(network.body, loss_reduction="mean")
    optimizer = DPOptimizer(
        torch.optim.SGD(module.parameters(), lr=0.1),
        noise_multiplier=1.0,
        max_grad_norm=1.0,
        expected_batch_size=len(images),
    )

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(module((images - network.mean) * network.inverse), labels).backward()
        optimizer.step()

    return step

"""Classifiers of scikit-learn's digits, 8 x 8, trained privately by bounds, and what `robspec check` says of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from robspec import api
from robspec.models.export import export_archive
from robspec.models.lipnets.kit import LayerKit
from robspec.models.lipnets.network import SegmentationNet
from robspec.models.lipnets.patches import LipPatches
from robspec.models.lipnets.unit import Flow
from robspec.train.config import Config, read_config
from robspec.train.private import PrivateSteps
from robspec.verify.result import CheckReport
from specs.digits import results

BUDGETS = ("0.1", "0.25", "0.5")
DELTA = 1e-4
STEPS, SHARE, RATE, BOUND, TAU = 40, 0.5, 2.0, 1.5, 5.0
"""Chosen by the validation images, for epsilon 3, and then the same for all: that choice is not accounted for."""
SHAPES = {"one layer": (), "two layers": (16,)}
CONFIG = """[run]
epochs = 1
batch = {batch}
threads = 1
[model]
architecture = "patches"
mean = [0.3]
std = [1.0]
[data]
input = [1, 8, 8]
classes = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
train_images = "train/*/*.png"
train_masks = "train/*/*.png"
val_images = "val/*/*.png"
val_masks = "val/*/*.png"
[loss]
tau = {tau}
[privacy]
{target}
delta = {delta}
norm_bound = {bound}
"""
SPEC = """language 1

model {
  input   image [1, 8, 8] in [0, 1]
  output  logits [10]
  classes "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"
}

PRIVACY

data test {
  images "test/*/*.png"
  labels by folder
}
"""
PROPERTY = """
property within_NAME {
  metric   accuracy
  norm     l2
  budget   EPS
  require  mean(worst_case) >= 0
}
"""


class Classifier(LipPatches):
    """Disjoint patches down to one place: each layer one orthogonal matrix, MaxMin between them.

    Args:
        widths: channels after the first layer, which takes patches of 2 x 2; empty for one layer of the whole image.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        kit = LayerKit(True, "maxmin", False)
        SegmentationNet.__init__(self, kit, (0.3,), (1.0,), 8)
        layers: list[nn.Module] = [nn.Conv2d(1, 10, 8, 8, bias=False)]
        if widths:
            last = nn.Conv2d(widths[0], 10, 4, 4, bias=False)
            layers = [nn.Conv2d(1, widths[0], 2, 2, bias=False), kit.activate(), last]
        self.body = nn.Sequential(*layers)
        self.retract(0.0)

    def flow(self, flow: Flow) -> Flow:
        """Map normalised images to logits, [B, 10]."""
        return self.body(flow[0]).flatten(1), 1.0


@dataclass(frozen=True, slots=True)
class Digits:
    """The images of a part and their digits.

    Args:
        images: float32 [N, 1, 8, 8] in [0, 1].
        labels: int64 [N, 1, 1], one place for each image.
    """

    images: Tensor
    labels: Tensor

    @classmethod
    def read(cls, folder: Path, part: str) -> Digits:
        """Read a part that was drawn."""
        images, labels = results.images(folder, part)
        return cls(images, torch.from_numpy(labels)[:, None, None])

    def take(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """See `PrivateSteps.gradients`."""
        return self.images[indices], self.labels[indices]


def configured(folder: Path, size: int, target: str) -> Config:
    """A configuration of the run.

    Args:
        folder: where it is written.
        size: of the training set.
        target: `epsilon = ...` or `noise = ...`.
    """
    path = folder / "private.toml"
    path.write_text(CONFIG.format(batch=round(SHARE * size), tau=TAU, target=target, delta=DELTA, bound=BOUND))
    return read_config(path)


def fit(shape: str, data: Digits, target: str, folder: Path, seed: int) -> Classifier:
    """Train privately and write model and card.

    Args:
        shape: one of SHAPES.
        data: the training images.
        target: see `configured`; "" trains without noise, and writes no card.
        folder: of the run.
        seed: of the first weights; draws and noise come from the operating system.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    network = Classifier(SHAPES[shape])
    for old in ("privacy.json", "card.json"):
        (folder / old).unlink(missing_ok=True)
    config = configured(folder, len(data.images), target or "noise = 1")
    steps = PrivateSteps(config, network, len(data.images), STEPS, folder, 0, {"seed": str(seed)})
    if not target:
        steps.scales = dict.fromkeys(steps.scales, 0.0)
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE)
    for k in range(STEPS):
        optimizer.param_groups[0]["lr"] = RATE * (1 - k / STEPS)
        steps.gradients(data.take)
        optimizer.step()
        steps.retract()
    write(network, folder, steps if target else None)
    return network


def write(network: nn.Module, folder: Path, steps: PrivateSteps | None) -> None:
    """Export a network, with its card where there is one."""
    archive = export_archive(network.eval(), None, (1, 8, 8), 64, "the classifier").archive
    (folder / "model.pt2").write_bytes(archive)
    if steps is not None:
        digest = hashlib.sha256(archive).hexdigest()
        card = {"model": {"sha256": digest}, "data": {}, "privacy": steps.card()}
        (folder / "card.json").write_text(json.dumps(card, indent=2))


def checked(folder: Path, data: Path, epsilon: str | None) -> CheckReport:
    """Check accuracy on the test images under attack, and privacy where a card says something of it.

    Args:
        folder: of the run.
        data: where the images were drawn.
        epsilon: what is asked for; None asks for no privacy.
    """
    asked = "" if epsilon is None else f"privacy {{\n  epsilon <= {epsilon} at delta {DELTA!r}\n}}\n"
    text = SPEC.replace("PRIVACY\n\n", asked + "\n" if asked else "")
    for eps in ("0", *BUDGETS):
        text += PROPERTY.replace("NAME", eps.replace(".", "_")).replace("EPS", eps)
    path = folder / "asked.rspec"
    path.write_text(text)
    return api.check(folder / "model.pt2", path, data=data)


def accuracies(report: CheckReport) -> list[Fraction]:
    """Certified accuracy at no attack and at each budget."""
    return [Fraction(prop.requirements[0].certified or 0) for prop in report.properties]


def averaged(rows: list[list[Fraction]]) -> list[float]:
    """Mean of several runs, rounded down to three decimals."""
    means = [sum(column, Fraction(0)) / len(rows) for column in zip(*rows, strict=True)]
    return [float(np.floor(float(mean) * 1000) / 1000) for mean in means]

"""Classifiers of scikit-learn's digits, 8 x 8, trained by `robspec train`, and what `robspec check` says of them."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from robspec import api
from robspec.models.lipnets.kit import LayerKit
from robspec.models.lipnets.patches import LipPatchClassifier
from robspec.train.config import Config, read_config
from robspec.train.run import train
from robspec.verify.result import CheckReport
from specs.digits import results

BUDGETS = ("0.1", "0.25", "0.5")
DELTA = 1e-4
EPOCHS, SHARE, RATE, BOUND, TAU = 20, 0.5, 0.05, 1.5, 5.0
"""Chosen by the validation images, for epsilon 3, and then the same for all: that choice is not accounted for."""
STEPS = round(EPOCHS / SHARE)
SHAPES = {"one layer": (), "two layers": (16,)}
CONFIG = """[run]
epochs = {epochs}
batch = {batch}
seed = {seed}
threads = 1
[model]
architecture = "patches"
channels = {channels}
depths = {depths}
mean = [0.3]
std = [1.0]
[data]
input = [1, 8, 8]
classes = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
train_images = "train/*/*.png"
train_labels = "by folder"
val_images = "val/*/*.png"
val_labels = "by folder"
[loss]
tau = {tau}
[optimizer]
rate = {rate}
[validation]
every = {epochs}
"""
PRIVACY = """[privacy]
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


def configured(folder: Path, size: int, target: str, shape: str, seed: int = 0) -> Config:
    """A configuration of a run on the images that were drawn into a folder.

    Args:
        folder: where it is written.
        size: of the training set.
        target: `epsilon = ...` or `noise = ...`, or more lines of `[privacy]`; "" for a run that is not private.
        shape: one of SHAPES.
        seed: of the first weights.
    """
    path, channels = folder / f"{shape.replace(' ', '-')}.toml", SHAPES[shape]
    told = {"epochs": EPOCHS, "batch": round(SHARE * size), "tau": TAU, "rate": RATE, "seed": seed}
    text = CONFIG.format(channels=list(channels), depths=[0] * len(channels), **told)
    path.write_text(text + (PRIVACY.format(target=target, delta=DELTA, bound=BOUND) if target else ""))
    return read_config(path)


def classifier(shape: str) -> LipPatchClassifier:
    """The network of such a run, with weights from torch's random state."""
    channels = SHAPES[shape]
    how = {"kit": LayerKit(True, "maxmin", False), "mean": (0.3,), "std": (1.0,), "biases": False}
    return LipPatchClassifier(10, (1, 8, 8), channels, [0] * len(channels), **how)


def fit(shape: str, size: int, target: str, drawn: Path, folder: Path, seed: int) -> None:
    """Train with `robspec train`; draws and noise come from the operating system.

    Args:
        shape: one of SHAPES.
        size: of the training set.
        target: see `configured`.
        drawn: where the images are.
        folder: of the run.
        seed: of the first weights.
    """
    train(configured(drawn, size, target, shape, seed), folder, None, results._Quiet(), fresh=True)


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

"""Runway segmenters trained by `robspec train` with `[privacy]`, checked on the scenes of `specs/runway`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from robspec import api
from robspec.train.config import read_config
from robspec.train.run import train
from robspec.train.task import Printed
from robspec.verify.result import CheckReport
from specs.runway.generate import scene

DELTA, SCENES, EPOCHS = 1e-4, 1024, 6
BUDGETS = ("0", "0.25", "0.5", "1")
METRICS = ("pixel_accuracy", "iou[runway]")
CONFIG = """[run]
epochs = EPOCHS
batch = 128
threads = 1
[model]
architecture = "patches"
channels = [16]
depths = [1]
[data]
input = [3, 64, 64]
classes = ["background", "runway"]
train_scenes = SCENES
val_scenes = 8
[loss]
tau = 20
[optimizer]
rate = 2e-2
[validation]
every = EPOCHS
[privacy]
epsilon = EPSILON
delta = DELTA
norm_bound = 15
"""
SPEC = """language 1

model {
  input   image [3, 64, 64] in [0, 1]
  output  logits [2, 64, 64]
  classes background, runway
}

privacy {
  epsilon <= EPSILON at delta DELTA
}

data scenes {
  images "images/*.png"
  masks  "masks/*.png"
}
"""
PROPERTY = """
property NAME {
  metric   METRIC
  norm     l2
  budget   EPS
  require  mean(worst_case) >= 0
}
"""


def checked(epsilon: str, folder: Path, data: Path, scenes: int = SCENES, epochs: int = EPOCHS) -> CheckReport:
    """Train for one epsilon and check model and training in one report.

    Args:
        epsilon: the target.
        folder: of the run; scenes that are drawn there already are used again.
        data: the folder of the scenes it is checked on.
        scenes: to train on.
        epochs: to train for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values = {"EPSILON": epsilon, "DELTA": repr(DELTA), "SCENES": str(scenes), "EPOCHS": str(epochs)}
    config, spec = CONFIG, SPEC
    for name, value in values.items():
        config, spec = config.replace(name, value), spec.replace(name, value)
    for metric in METRICS:
        for eps in BUDGETS:
            name = f"{metric.partition('[')[0]}_within_{eps.replace('.', '_')}"
            spec += PROPERTY.replace("NAME", name).replace("METRIC", metric).replace("EPS", eps)
    (folder / "private.toml").write_text(config)
    (folder / "asked.rspec").write_text(spec)
    train(read_config(folder / "private.toml"), folder, scene, Printed(), fresh=True)
    return api.check(folder / "model.pt2", folder / "asked.rspec", data=data)


def table(targets: tuple[str, ...], folder: Path, data: Path) -> Iterator[str]:
    """Mean over the scenes at each budget: accuracy of pixels and intersection over union of the runway."""
    names = [f"{metric.partition('[')[0]}, eps {eps}" for metric in METRICS for eps in BUDGETS]
    yield f"| epsilon asked | epsilon proved on the log | {' | '.join(names)} |"
    yield "|---|---" + "|---" * len(names) + "|"
    for target in targets:
        report = checked(target, folder, data)
        if report.privacy is None or report.privacy.epsilon is None or not report.privacy.label.startswith("PROVED"):
            raise SystemExit(f"epsilon {target}: {report.privacy}")
        means = [float(prop.requirements[0].certified or 0) for prop in report.properties]
        shown = " | ".join(f"{int(mean * 1000) / 1000:.3f}" for mean in means)
        yield f"| {target} | {report.privacy.epsilon:.4f} | {shown} |"

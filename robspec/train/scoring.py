"""One class: what `robspec train` certifies of a network that gives one score per image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from robspec.data.dataset import Dataset, open_dataset
from robspec.data.errors import EmptyDataSet
from robspec.function.program import GraphProgram
from robspec.function.running import Runner, exact_arithmetic
from robspec.function.settle import settle
from robspec.ir.types import Data, Model
from robspec.kernels.scores import Shifts, backends
from robspec.lipschitz.cache import cached
from robspec.models.inspect import read_file
from robspec.models.lipnets.network import SegmentationNet
from robspec.models.rebuild import rebuild
from robspec.models.sanitise import check_archive
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2, decimal_text
from robspec.train import certify
from robspec.train.building import check_design
from robspec.train.config import Config
from robspec.train.score_spec import SPEC, write_specification
from robspec.train.task import Console

METRIC = "auroc"
_BATCH = 64
_CPU = torch.device("cpu")

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ScoreModel:
    """An exported network of one score, and the constant proved of what is run.

    Args:
        program: settled.
        constant: l2 to l2.
    """

    program: GraphProgram
    constant: Constant
    _runner: Runner

    def scores(self, images: Tensor) -> Scores:
        """Compute scores without gradients or reduced precision.

        Args:
            images: float32 [B, C, H, W] in the units of the declared input.

        Returns:
            float64 [B], the float32 scores themselves.
        """
        with exact_arithmetic(_CPU):
            parts = [self._runner.images_to_logits(part) for part in torch.split(images, _BATCH)]
        found: Scores = torch.cat(parts)[:, 0].double().numpy()
        return found

    def differentiable(self, images: Tensor) -> Tensor:
        """Compute scores [B] so that gradients reach the images."""
        with exact_arithmetic(_CPU), torch.enable_grad():
            return torch.cat([self._runner.images_to_logits(part) for part in torch.split(images, _BATCH)])[:, 0]


def open_scores(archive: Path) -> ScoreModel:
    """Open an archive of one's own training, and prove its constant.

    Args:
        archive: written by `robspec train`.

    Returns:
        The model: what is proved is what is run.

    Raises:
        RobspecError: E0201 to E0212, not such an archive; E0501 to E0505, the constant cannot be proved.
    """
    program = settle(rebuild(check_archive(read_file(archive), str(archive))))
    proof = cached(program, input_norm=L2, output_norm=L2)
    constant = Constant(proof.value, L2, L2, ConstantStatus.PROVED)
    return ScoreModel(program, constant, Runner(program, torch.float32, torch.float32, _CPU))


class ScoreTask:
    """See `Task`.

    Args:
        config: the configuration.
        out: the run's folder, where the specification is written.

    Raises:
        RobspecError: whatever is wrong with network or data.
    """

    def __init__(self, config: Config, out: Path) -> None:
        check_design(config)
        self._config, self._out = config, out
        self._written = False
        names = ("train_images", "val_images", "val_anomalous")
        self.training, self._normal, self._anomalous = (_open(config, name) for name in names)
        self.validation: tuple[Dataset, ...] = (self._normal, self._anomalous)

    def validated(self, network: SegmentationNet, epoch: int) -> dict[str, Any]:
        """See `Task.validated`."""
        constant = certify.design_constant(network)
        if constant is None:
            return {}
        plain: nn.Module = network.settled()

        def scores(images: Tensor) -> Scores:
            with exact_arithmetic(_CPU):
                found: Scores = plain(images)[:, 0].double().numpy()
            return found

        sides = [np.concatenate([scores(batch.images) for batch in part.batches(_BATCH)]) for part in self.validation]
        return {"validation": {METRIC: self._row(sides, constant)}}

    def proved(self, archive: Path, console: Console) -> dict[str, Any]:
        """See `Task.proved`; writes the specification, and the table of labels that it names."""
        model = open_scores(archive)
        console.line(f"proved: L <= {model.constant.text} (l2 -> l2)")
        sides = []
        with console.bar("certifying", sum(map(len, self.validation))) as told:
            for part in self.validation:
                found = []
                for batch in part.batches(_BATCH):
                    found.append(model.scores(batch.images))
                    told(len(batch.names))
                sides.append(np.concatenate(found))
        row = self._row(sides, model.constant)
        listed = ", ".join(f"{worst:.4f} within {eps}" for eps, worst in row["certified"].items())
        console.line(f"{METRIC}: clean {row['clean']:.4f}, anomalies attacked: certified {listed}")
        bound = float(certify.rounded_up(model.constant))
        self._written = write_specification(
            self._config, self._out, [p.pairs for p in self.validation], row, model.constant
        )
        return {
            "lipschitz": {"norms": "l2 -> l2", "bound": bound, "status": model.constant.status.value},
            "metrics": {METRIC: row},
            "images": sum(map(len, self.validation)),
            "notes": ["arithmetic: forward pass in float32 taken as exact", "attacked: the anomalies"],
            "remarks": [],
        }

    def told(self) -> Iterable[str]:
        """See `Task.told`."""
        if not self._written:
            yield "no specification: no one pattern matches the validation images and no others"
            return
        yield f"wrote {self._out / SPEC}"
        yield f"again: robspec check {self._out / 'model.pt2'} {self._out / SPEC}"

    def _row(self, sides: Sequence[Scores], constant: Constant) -> dict[str, Any]:
        normal, anomalous = sides
        clean, *worst = aurocs(anomalous, normal, constant, (Fraction(0), *self._config.validation.budgets))
        budgets = map(decimal_text, self._config.validation.budgets)
        return {"clean": _shown(clean), "certified": dict(zip(budgets, map(_shown, worst), strict=True))}


def aurocs(
    anomalous: Scores, normal: Scores, constant: Constant, budgets: Sequence[Fraction]
) -> tuple[Fraction, ...]:
    """Bound the area under the ROC curve from below where each anomaly may be attacked.

    Args:
        anomalous: float64 [n], n > 0.
        normal: float64 [m], m > 0.
        constant: image to score.
        budgets: exact, in units of the declared input.

    Returns:
        One exact value for each budget.

    Source: IMAGES.md I2.
    """
    scores = backends()["cpu"].read(anomalous, normal)
    found = [scores.auroc(Shifts(down=constant.value * eps)) for eps in budgets]
    return tuple(value for value in found if value is not None)


def _shown(value: Fraction) -> float:
    return math.floor(value * 10**6) / 10**6


def _open(config: Config, key: str) -> Dataset:
    channels, height, width = config.data.input
    model = Model((channels, height, width), Fraction(0), Fraction(1), (1, height, width), ("normal", "anomalous"))
    part = key.partition("_")[2] if key.startswith("val_a") else key.partition("_")[0]
    try:
        return open_dataset(Data(part, getattr(config.data, key), ""), model, config.path.parent)
    except EmptyDataSet as empty:
        mend = f"correct `{key}` in [data] of {config.path}; it starts from its folder"
        raise EmptyDataSet(empty.where, empty.what, mend) from None

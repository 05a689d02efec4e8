"""Masks or labels: what `robspec train` certifies of a network that gives logits, of pixels or of whole images."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

from robspec.data.dataset import Dataset
from robspec.models.lipnets.network import SegmentationNet
from robspec.models.loading import load
from robspec.models.writing import write_whole
from robspec.train import certify
from robspec.train.building import check_design
from robspec.train.config import Config
from robspec.train.samples import Scene, open_part
from robspec.train.task import Console
from robspec.verify.backend import choose
from robspec.verify.constant import before_tail, establish, gains_by_cells, with_coarse
from robspec.verify.run import check

SPEC = "model.rspec"
_PLACES = 100
"""A promise in the written specification is a certified mean rounded down to hundredths."""


class LogitsTask:
    """See `Task`.

    Args:
        config: the configuration.
        out: the run's folder, where drawn scenes are kept.
        generator: draws scenes where the configuration asks for them.
        console: is told of progress.

    Raises:
        RobspecError: whatever is wrong with metrics, network or data.
    """

    def __init__(self, config: Config, out: Path, generator: Scene | None, console: Console) -> None:
        self._config, self._out, self._by_cells = config, out, config.tail > 1
        self._metrics = list(config.validation.metrics)
        chosen = {"all": self._metrics, "watched": self._metrics[:1]}
        texts = {k: certify.specification(config, metrics, {}, None) for k, metrics in chosen.items()}
        self._programs = {k: certify.compiled(text, f"{config.path}: validation") for k, text in texts.items()}
        check_design(config)
        parts: list[Dataset] = []
        for part in ("train", "val"):
            with console.bar(f"drawing {part} scenes", getattr(config.data, f"{part}_scenes")) as told:
                parts.append(open_part(config, part, out, generator, told))
        self.training, self._data = parts
        self.validation: tuple[Dataset, ...] = (self._data,)

    def validated(self, network: SegmentationNet, epoch: int) -> dict[str, Any]:
        """See `Task.validated`."""
        constant = certify.design_constant(network)
        if constant is None:
            return {}
        live = certify.Live(network.settled(), self._config)
        report = certify.certify(self._programs["watched"], live, self._data, constant)
        return {"validation": certify.table(certify.means(self._config, self._metrics[:1], report))}

    def proved(self, archive: Path, console: Console) -> dict[str, Any]:
        """See `Task.proved`; writes the specification."""
        loaded = load(archive)
        established = establish(self._programs["all"], loaded.program, assume=None)
        constant = established.constants[0]
        console.line(f"proved: L <= {constant.text} (l2 -> l2)")
        model = loaded
        if self._by_cells and gains_by_cells(self._programs["all"], established):
            established, model = (
                with_coarse(self._programs["all"], established, loaded.program),
                before_tail(loaded),
            )
        with console.bar("certifying", len(self._data)) as told:
            report = check(self._programs["all"], model, self._data, choose("auto"), established, progress=told)
        certify.require_complete(report)
        found = certify.means(self._config, self._metrics, report)
        floors = {
            key: Fraction(math.floor(worst * _PLACES), _PLACES)
            for key, (_, worst) in found.items()
            if worst is not None
        }
        text = certify.specification(self._config, self._metrics, floors, certify.rounded_up(constant))
        write_whole(self._out / SPEC, text.encode())
        rows = certify.table(found)
        for metric, row in rows.items():
            listed = ", ".join(
                f"{worst:.4f} within {eps}" for eps, worst in row["certified"].items() if worst is not None
            )
            console.line(
                f"{metric}: clean {row['clean']:.4f}, certified {listed}" if listed else f"{metric}: undefined"
            )
        return {
            "lipschitz": {
                "norms": "l2 -> l2",
                "bound": float(certify.rounded_up(constant)),
                "status": constant.status.value,
            },
            "metrics": rows,
            "images": len(self._data),
            "notes": list(report.notes),
            "remarks": [str(note) for note in report.remarks],
        }

    def told(self) -> Iterable[str]:
        """See `Task.told`."""
        yield f"wrote {self._out / SPEC}"
        again = f"robspec check {self._out / 'model.pt2'} {self._out / SPEC} --data {self._data.root}"
        yield f"again: {again}{' --coarse' if self._by_cells else ''}"

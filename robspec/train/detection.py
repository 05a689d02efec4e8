"""Objects: what `robspec train` certifies of a network that gives scores and boxes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from robspec.data.dataset import Dataset, open_dataset
from robspec.data.errors import EmptyDataSet
from robspec.diagnostics import Source
from robspec.function.running import exact_arithmetic
from robspec.ir.types import Data, Model, Program
from robspec.models.lipnets.fcos import LipFCOS
from robspec.models.lipnets.network import SegmentationNet
from robspec.models.loading import LoadedModel, load
from robspec.models.writing import write_whole
from robspec.semantics.norm import decimal_text, directed_text
from robspec.syntax import format_file, parse
from robspec.train import certify
from robspec.train.building import build, check_design
from robspec.train.config import Config
from robspec.train.task import Console
from robspec.verify.backend import choose
from robspec.verify.constant import establish
from robspec.verify.established import Established
from robspec.verify.run import check

SPEC = "model.rspec"
_PLACES = 100
"""A promise in the written specification is a certified value rounded down to hundredths."""
_OF_ALL_IMAGES = ("pooled", "average_precision", "mean_average_precision", "coco_average_precision")
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class _Output:
    """One output of a network as the check runs models, [B, K, 1, N]."""

    network: SegmentationNet
    place: int
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    def logits(self, images: Tensor) -> Tensor:
        """Compute it without gradients or reduced precision."""
        with exact_arithmetic(_CPU):
            found: Tensor = self.network(images)[self.place]
        return found[:, :, None, :]


@dataclass(frozen=True)
class Live(_Output):
    """A settled detector as the check runs models; `second` gives the boxes."""

    second: _Output


class ObjectTask:
    """See `Task`.

    Args:
        config: the configuration.
        out: the run's folder, where the specification is written.

    Raises:
        RobspecError: whatever is wrong with metrics, network or data.
    """

    def __init__(self, config: Config, out: Path) -> None:
        check_design(config)
        self._config, self._out = config, out
        self._metrics = list(config.validation.metrics)
        self._locations = _locations(config)
        # While training nothing is known of boxes, whatever is proved of them at the end.
        self._watched = self._compiled(self._metrics[:1], boxes="frozen")
        self._program = self._compiled(self._metrics, boxes=config.detector.boxes)
        self.training, self._data = (_open(config, part, self._program.model) for part in ("train", "val"))
        self.validation: tuple[Dataset, ...] = (self._data,)

    def validated(self, network: SegmentationNet, epoch: int) -> dict[str, Any]:
        """See `Task.validated`; boxes are taken to stay where they are."""
        constant = certify.design_constant(network)
        detector = self._watched.model.detector
        if constant is None or detector is None:
            return {}
        plain, shape = network.settled(), self._config.data.input
        sizes = (shape, (4, self._locations))
        live = Live(plain, 0, shape, (len(self._config.data.classes), self._locations), _Output(plain, 1, *sizes))
        frozen = replace(constant, boxes=Fraction(0), assuming=detector.assumption)
        report = certify.certify(self._watched, live, self._data, frozen)
        return {"validation": certify.table(certify.means(self._config, self._metrics[:1], report))}

    def proved(self, archive: Path, console: Console) -> dict[str, Any]:
        """See `Task.proved`; writes the specification."""
        loaded, established = opened(archive, self._program)
        constant = established.constants[0]
        console.line(f"proved: L <= {constant.text} (l2 -> l2)")
        for note in established.notes:
            console.line(note)
        with console.bar("certifying", len(self._data)) as told:
            report = check(self._program, loaded, self._data, choose("auto"), established, progress=told)
        certify.require_complete(report)
        found = certify.means(self._config, self._metrics, report)
        floors = {
            key: Fraction(math.floor(worst * _PLACES), _PLACES)
            for key, (_, worst) in found.items()
            if worst is not None
        }
        text = specification(self._config, self._locations, self._metrics, floors, certify.rounded_up(constant))
        write_whole(self._out / SPEC, text.encode())
        rows = certify.table(found)
        for metric, row in rows.items():
            listed = ", ".join(f"{w:.4f} within {eps}" for eps, w in row["certified"].items() if w is not None)
            console.line(
                f"{metric}: clean {row['clean']:.4f}, certified {listed}" if listed else f"{metric}: undefined"
            )
        bound = {"norms": "l2 -> l2", "bound": float(certify.rounded_up(constant)), "status": constant.status.value}
        return {
            "lipschitz": bound,
            "metrics": rows,
            "images": len(self._data),
            "notes": list(report.notes),
            "remarks": [str(note) for note in report.remarks],
        }

    def told(self) -> Iterable[str]:
        """See `Task.told`."""
        yield f"wrote {self._out / SPEC}"
        yield f"again: robspec check {self._out / 'model.pt2'} {self._out / SPEC} --data {self._data.root}"

    def _compiled(self, metrics: Sequence[str], *, boxes: str) -> Program:
        chosen = replace(self._config, detector=replace(self._config.detector, boxes=boxes))
        text = specification(chosen, self._locations, metrics, {}, None)
        return certify.compiled(text, f"{self._config.path}: validation")


def opened(archive: Path, program: Program) -> tuple[LoadedModel, Established]:
    """Load an archive of scores and boxes, and prove what a specification needs of it.

    Args:
        archive: written by `robspec train`.
        program: the compiled specification.
    """
    loaded = load(archive, detector=program.model.detector, boxes=True)
    boxes = None if loaded.second is None else loaded.second.program
    return loaded, establish(program, loaded.program, assume=None, boxes=boxes)


def specification(
    config: Config,
    locations: int,
    metrics: Sequence[str],
    floors: dict[tuple[str, Fraction], Fraction],
    claim: Fraction | None,
) -> str:
    """Write a specification for a trained detector.

    Args:
        config: shapes, classes, files, budgets, and what becomes of the scores.
        locations: how many the network has.
        metrics: of the language, one property per metric and budget.
        floors: what the worst case, or its mean over images, must reach; 0 where missing.
        claim: a Lipschitz constant of the scores to declare, or None.

    Returns:
        The text, as `robspec fmt` lays it out where it can be read at all.
    """
    source, how = config.data, config.detector
    shape = ", ".join(map(str, source.input))
    lines = ["language 1", "", "model {", f"  input image [{shape}] in [0, 1]"]
    lines.append(f"  output scores [{len(source.classes)}, {locations}], boxes [4, {locations}]")
    lines.append("  classes " + ", ".join(f'"{name}"' for name in source.classes))
    if claim is not None:
        lines.append(f"  lipschitz l2 <= {directed_text(claim, 9, up=True)}")
    lines += ["}", "", "detector {", f"  threshold sigmoid {decimal_text(how.threshold)}"]
    lines += [f"  nms greedy {decimal_text(how.nms)}", f"  match overlap {decimal_text(how.overlap)}"]
    lines += [f"  boxes {how.boxes}", "}", "", "data val {"]
    lines += [f'  images "{source.val_images}"', f'  objects coco "{source.val_objects}"', "}"]
    for metric in metrics:
        value = "worst_case" if metric.startswith(_OF_ALL_IMAGES) else "mean(worst_case)"
        for budget in config.validation.budgets:
            floor = floors.get((metric, budget), Fraction(0))
            if any(floors.values()) and not floor:
                continue
            eps = decimal_text(budget)
            lines += ["", f"property {certify.name_of(metric, budget)} {{", f"  metric {metric}", "  norm l2"]
            lines += [f"  budget {eps}", f"  require {value} >= {decimal_text(floor)}", "}"]
    text = "\n".join(lines) + "\n"
    parsed = parse(Source(text))
    return text if parsed.diagnostics else format_file(parsed.file)


def _locations(config: Config) -> int:
    with torch.device("meta"):
        twin = build(replace(config, model=replace(config.model, lipschitz=False)))
    if not isinstance(twin, LipFCOS):
        raise ValueError("the network has no locations")
    return int(twin.centres.shape[1])


def _open(config: Config, part: str, model: Model) -> Dataset:
    images, objects = getattr(config.data, f"{part}_images"), getattr(config.data, f"{part}_objects")
    data = Data(part, images, objects=objects, objects_format="coco")
    try:
        return open_dataset(data, model, config.path.parent)
    except EmptyDataSet as empty:
        mend = f"correct `{part}_images` in [data] of {config.path}; it starts from its folder"
        raise EmptyDataSet(empty.where, empty.what, mend) from None

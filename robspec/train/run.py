"""A whole run: data, training, export, proof, specification, model card."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from robspec import stopping
from robspec.data.dataset import Dataset
from robspec.ir.types import Program
from robspec.models.card import NAME as CARD
from robspec.models.card import trained_on
from robspec.models.errors import UnwritableOutput
from robspec.models.export import export_archive
from robspec.models.lipnets.network import SegmentationNet
from robspec.models.loading import load
from robspec.models.writing import write_whole
from robspec.notes import Note, listed
from robspec.semantics.constant import Constant
from robspec.train import certify
from robspec.train.building import check_design
from robspec.train.checkpoint import NAME
from robspec.train.config import Config, as_json
from robspec.train.loop import Trainer, deterministic
from robspec.train.samples import Samples, Scene, open_part
from robspec.verify.backend import choose
from robspec.verify.constant import establish
from robspec.verify.run import check, versions

MODEL, SPEC = "model.pt2", "model.rspec"
_PLACES = 100
"""A promise in the written specification is a certified mean rounded down to hundredths."""


class Console(Protocol):
    """Where a run reports."""

    def bar(self, title: str, total: int) -> Any:
        """Open a progress bar: a context that gives a function to be told of finished steps."""
        ...

    def line(self, text: str) -> None:
        """Say one thing."""
        ...


@dataclass(frozen=True, slots=True)
class Finished:
    """What a run leaves behind.

    Args:
        folder: holds model.pt2, model.rspec and card.json.
        card: the content of the card.
    """

    folder: Path
    card: dict[str, Any]


def train(config: Config, out: Path, generator: Scene | None, console: Console, *, fresh: bool = False) -> Finished:
    """Train, export, prove and describe a model.

    Args:
        config: the configuration.
        out: the run's folder, created if missing; a checkpoint in it is gone on from.
        generator: draws scenes where the configuration asks for them.
        console: is told of progress.
        fresh: begin again although there is a checkpoint.

    Returns:
        What was written.

    Raises:
        RobspecError: whatever is wrong with configuration, data, checkpoint or output.
    """
    _prepare(out, fresh=fresh)
    program_of = {"all": list(config.validation.metrics), "watched": list(config.validation.metrics[:1])}
    texts = {k: certify.specification(config, m, {}, None) for k, m in program_of.items()}
    programs = {k: certify.compiled(text, f"{config.path}: validation") for k, text in texts.items()}
    check_design(config)
    parts: dict[str, Dataset] = {}
    for part in ("train", "val"):
        with console.bar(f"drawing {part} scenes", getattr(config.data, f"{part}_scenes")) as told:
            parts[part] = open_part(config, part, out, generator, told)
    learned = dict(parts["train"].contents(Fraction(0), Fraction(1)))
    remarks = (*_turned(parts), *_overlap(learned, parts["val"]))
    for note in remarks:
        console.line(str(note))
    with deterministic(config.run.threads):
        identity = {
            "configuration": config.sha256,
            "training data": parts["train"].digest(),
            "validation data": parts["val"].digest(),
            "versions": json.dumps(versions(), sort_keys=True),
        }

        def validate(network: SegmentationNet, _epoch: int) -> dict[str, Any]:
            constant = certify.design_constant(network)
            if constant is None:
                return {}
            live = certify.Live(network.settled(), config)
            report = certify.certify(programs["watched"], live, parts["val"], constant)
            return {"validation": certify.table(certify.means(config, program_of["watched"], report))}

        trainer = Trainer(config, Samples(parts["train"]), out, identity, validate)
        if trainer.resumed:
            console.line(f"going on from step {trainer.progress.step} of {trainer.steps}")
        try:
            # A step cut in two would leave weights that no run has.
            with stopping.held() as stopped, console.bar("training", trainer.steps) as told:
                trainer.run(told, lambda entry: console.line(_epoch_line(config, entry)), stopped)
        except KeyboardInterrupt:
            console.line(f"stopped at step {trainer.progress.step} of {trainer.steps}: the same command goes on")
            raise
        archive = _export(config, trainer.network, out)
    console.line(f"wrote {out / MODEL}: {len(archive):,} bytes")
    card = _proved(config, parts["val"], out, programs["all"], console)
    card["training"] = {
        "steps": trainer.steps,
        "seconds": round(trainer.progress.seconds, 1),
        "history": trainer.progress.history,
    }
    card["data"] = {k: identity[f"{k} data"] for k in ("training", "validation")}
    card["data"]["trained_on"] = trained_on(learned)
    card["remarks"] = [str(note) for note in remarks] + card["remarks"]
    card["configuration"] = {"sha256": config.sha256, "values": as_json(config)}
    card["model"] = {
        "architecture": trainer.network.architecture,
        "parameters": sum(p.numel() for p in trainer.network.settled().parameters()),
        "sha256": hashlib.sha256(archive).hexdigest(),
        "bytes": len(archive),
        "design_lipschitz": trainer.network.design_lipschitz,
    }
    card["versions"] = versions()
    write_whole(out / CARD, (json.dumps(card, indent=2, sort_keys=True) + "\n").encode())
    console.line(f"wrote {out / SPEC} and {out / CARD}")
    console.line(f"again: robspec check {out / MODEL} {out / SPEC} --data {parts['val'].root}")
    return Finished(out, card)


def _prepare(out: Path, *, fresh: bool) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        if fresh:
            (out / NAME).unlink(missing_ok=True)
    except OSError as error:
        raise UnwritableOutput(str(out), f"it cannot be used: {error.strerror}", "name another --out") from error


def _export(config: Config, network: SegmentationNet, out: Path) -> bytes:
    channels, height, width = config.data.input
    plain = network.settled()
    made = export_archive(plain, None, (channels, height, width), 64, str(config.path))
    write_whole(out / MODEL, made.archive)
    return made.archive


def _proved(config: Config, data: Dataset, out: Path, program: Program, console: Console) -> dict[str, Any]:
    """Prove the exported archive's constant, certify the validation set with it, and write the specification."""
    loaded = load(out / MODEL)
    established = establish(program, loaded.program, assume=None)
    constant = established.constants[0]
    console.line(f"proved: L <= {constant.text} (l2 -> l2)")
    with console.bar("certifying", len(data)) as told:
        report = check(program, loaded, data, choose("auto"), established, progress=told)
    certify.require_complete(report)
    metrics = list(config.validation.metrics)
    found = certify.means(config, metrics, report)
    floors = {
        key: Fraction(math.floor(worst * _PLACES), _PLACES) for key, (_, worst) in found.items() if worst is not None
    }
    text = certify.specification(config, metrics, floors, _rounded_up(constant))
    write_whole(out / SPEC, text.encode())
    rows = certify.table(found)
    for metric, row in rows.items():
        listed = ", ".join(
            f"{worst:.4f} within {eps}" for eps, worst in row["certified"].items() if worst is not None
        )
        console.line(f"{metric}: clean {row['clean']:.4f}, certified {listed}" if listed else f"{metric}: undefined")
    return {
        "lipschitz": {"norms": "l2 -> l2", "bound": float(_rounded_up(constant)), "status": constant.status.value},
        "metrics": rows,
        "images": len(data),
        "notes": list(report.notes),
        "remarks": [str(note) for note in report.remarks],
    }


def _turned(parts: dict[str, Dataset]) -> Iterator[Note]:
    for part in parts.values():
        yield from part.remarks


def _overlap(learned: dict[str, str], data: Dataset) -> Iterator[Note]:
    """Say which images are both learned from and judged by: what is certified on them says little of others."""
    seen = frozenset(learned.values())
    names = tuple(name for name, digest in data.contents(Fraction(0), Fraction(1)) if digest in seen)
    if names:
        text = f"{len(names)} of {len(data)} images are trained on: {listed(names)}"
        share = Fraction(len(names), len(data))
        yield Note("trained-on", f"data {data.name}", text, {"images": names, "share": share})


def _rounded_up(constant: Constant) -> Fraction:
    return Fraction(math.ceil(constant.value * 10**9), 10**9)


def _epoch_line(config: Config, entry: dict[str, Any]) -> str:
    text = f"epoch {entry['epoch']}/{config.run.epochs}: loss {entry['loss']:.4f}"
    for metric, row in entry.get("validation", {}).items():
        clean, certified = row["clean"], row["certified"]
        if clean is not None:
            listed = ", ".join(f"{worst:.4f} within {eps}" for eps, worst in certified.items())
            text += f"; {metric} {clean:.4f}, certified {listed}"
    return text

"""A whole run: data, training, export, proof, specification, model card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from robspec import extras, stopping
from robspec.data.dataset import Dataset
from robspec.models.card import NAME as CARD
from robspec.models.card import trained_on
from robspec.models.errors import UnwritableOutput
from robspec.models.export import export_archive
from robspec.models.lipnets.network import SegmentationNet
from robspec.models.sameness import VALUES
from robspec.models.writing import write_whole
from robspec.notes import Note, listed
from robspec.privacy.accountant import RELATION
from robspec.privacy.ledger import NAME as LEDGER
from robspec.semantics.norm import directed_text
from robspec.train import fixed
from robspec.train.checkpoint import NAME
from robspec.train.config import Config, as_json
from robspec.train.detection import ObjectTask
from robspec.train.locking import locked
from robspec.train.logits import LogitsTask
from robspec.train.loop import Trainer, deterministic
from robspec.train.mending import in_configuration
from robspec.train.samples import Samples, Scene
from robspec.train.scoring import ScoreTask
from robspec.train.task import Console, Task
from robspec.verify.run import versions

MODEL = "model.pt2"


@dataclass(frozen=True, slots=True)
class Finished:
    """What a run leaves behind.

    Args:
        folder: holds model.pt2, card.json and model.rspec.
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
        FolderInUse: E0707, another process trains in the folder.
        RobspecError: whatever is wrong with configuration, data, checkpoint or output.
    """
    if config.private:
        extras.require("private", "private training")  # and not only once all steps are taken
    with locked(out), in_configuration(config):
        if fresh:
            _forget(out)
        return _trained(config, out, generator, console)


def _trained(config: Config, out: Path, generator: Scene | None, console: Console) -> Finished:
    task = _task(config, out, generator, console)
    learned = dict(task.training.contents(Fraction(0), Fraction(1)))
    if config.private:
        learned = {}  # digests of images, and whether one of them is known, tell who took part
    of_training = tuple(task.training.remarks)
    remarks = (
        *(note for part in task.validation for note in part.remarks),
        *(note for part in task.validation for note in _overlap(learned, part)),
    )
    for note in (*of_training, *remarks):
        console.line(str(note))
    if not config.private:
        remarks = (*of_training, *remarks)  # names of images tell who took part
    with deterministic(config.run.threads):
        identity = {
            "configuration": config.sha256,
            "training data": task.training.digest(),
            "validation data": " ".join(part.digest() for part in task.validation),
            "versions": json.dumps(versions(), sort_keys=True),
            VALUES: json.dumps(as_json(config), sort_keys=True),
        }
        if config.private:
            console.line(_before(config, len(task.training)))
        trainer = Trainer(config, Samples(task.training), out, identity, task.validated)
        if trainer.private is not None:
            console.line(trainer.private.told())
            if fixed.to_compile():
                console.line("compiling the kernels of private steps, which are kept for the next run")
        if trainer.resumed:
            console.line(f"going on from step {trainer.progress.step} of {trainer.steps}")
        try:
            # A step cut in two would leave weights that no run has.
            with stopping.held() as stopped, console.bar("training", trainer.steps) as told:
                trainer.run(told, lambda entry: console.line(_epoch_line(config, entry)), stopped)
        except KeyboardInterrupt:
            console.line(f"stopped at step {trainer.progress.step} of {trainer.steps}: the same command goes on")
            raise stopping.Said from None
        archive = _export(config, trainer.network, out)
    console.line(f"wrote {out / MODEL}: {len(archive):,} bytes")
    card = task.proved(out / MODEL, console)
    card["training"] = {
        "steps": trainer.steps,
        "seconds": round(trainer.progress.seconds, 1),
        "history": trainer.progress.history,
    }
    card["data"] = {k: identity[f"{k} data"] for k in ("training", "validation")}
    card["data"]["trained_on"] = trained_on(learned)
    if trainer.private is not None:
        # How long it took tells how many images were drawn.
        del card["training"]["seconds"]
        card["data"] = {"validation": identity["validation data"]}
        card["privacy"] = told_of = trainer.private.card()
        epsilon = directed_text(Fraction(told_of["epsilon"]), 4, up=True)
        console.line(f"private: epsilon <= {epsilon} at delta {told_of['delta']:g}, {RELATION}")
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
    console.line(f"wrote {out / CARD}")
    for line in task.told():
        console.line(line)
    return Finished(out, card)


def _task(config: Config, out: Path, generator: Scene | None, console: Console) -> Task:
    if config.one_class:
        return ScoreTask(config, out)
    return ObjectTask(config, out) if config.detection else LogitsTask(config, out, generator, console)


def _forget(out: Path) -> None:
    try:
        (out / NAME).unlink(missing_ok=True)
        (out / LEDGER).unlink(missing_ok=True)
    except OSError as error:
        raise UnwritableOutput(str(out), f"it cannot be used: {error.strerror}", "name another --out") from error


def _export(config: Config, network: SegmentationNet, out: Path) -> bytes:
    channels, height, width = config.data.input
    plain = network.settled()
    made = export_archive(plain, None, (channels, height, width), 64, str(config.path))
    write_whole(out / MODEL, made.archive)
    return made.archive


def _overlap(learned: dict[str, str], data: Dataset) -> Iterator[Note]:
    """Say which images are both learned from and judged by: what is certified on them says little of others."""
    seen = frozenset(learned.values())
    names = tuple(name for name, digest in data.contents(Fraction(0), Fraction(1)) if digest in seen)
    if names:
        text = f"{len(names)} of {len(data)} images are trained on: {listed(names)}"
        share = Fraction(len(names), len(data))
        yield Note("trained-on", f"data {data.name}", text, {"images": names, "share": share})


def _before(config: Config, size: int) -> str:
    """What a private run is about to do, before the accountant is asked, which takes a while."""
    how = config.privacy
    text = f"private: {size} images, of which each step draws about {min(config.run.batch, size)}"
    if how.epsilon > 0:
        text += f"; looking for the noise that epsilon {how.epsilon:g} at delta {how.delta:g} takes"
    if how.delta * size > 1:
        text += f"; note: delta is above 1 / {size}, which would allow to publish one image whole"
    return text


def _epoch_line(config: Config, entry: dict[str, Any]) -> str:
    text = f"epoch {entry['epoch']}/{config.run.epochs}"
    if "loss" in entry:
        text += f": loss {entry['loss']:.4f}"
    for metric, row in entry.get("validation", {}).items():
        clean, certified = row["clean"], row["certified"]
        if clean is not None:
            listed = ", ".join(f"{worst:.4f} within {eps}" for eps, worst in certified.items())
            text += f"; {metric} {clean:.4f}, certified {listed}"
    return text

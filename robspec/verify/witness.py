"""Writes what refutes a property, so that others can replay it."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from robspec.semantics.norm import exact_text
from robspec.verify.errors import WitnessPathError
from robspec.verify.result import (
    CheckReport,
    ClaimResult,
    ImageResult,
    PropertyResult,
    RequirementResult,
    Value,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class Written:
    """A witness on disk.

    Args:
        path: the file.
        replaced: whether a witness of other content lay there before.
    """

    path: Path
    replaced: bool


def write_witnesses(report: CheckReport, folder: Path) -> list[Written]:
    """Write one JSON file per refuted property, under a name that stays the same from run to run.

    Args:
        report: the finished check.
        folder: created when needed; untouched when nothing is refuted.

    Returns:
        The files written, each naming the images, their distance from the clean image (0: they are the clean
        images; others are stored beside it) and the exact values they attain.

    Raises:
        WitnessPathError: the folder or a file cannot be written (E0603).
    """
    refuted = [p for p in report.properties if p.verdict is Verdict.REFUTED]
    written = [_write_pair(c, folder) for c in report.claims if c.pair is not None]
    for prop in refuted:
        path = folder / f"{prop.source.name}.witness.json"
        content = json.dumps(_document(report, prop), indent=2) + "\n"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _store_attacks(report, prop, folder)
            replaced = _differs(path, content.encode())
            with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as stream:
                stream.write(content)
            Path(stream.name).chmod(0o644)
            Path(stream.name).replace(path)
        except OSError as error:
            raise WitnessPathError(str(path), f"cannot write: {error.strerror}", "choose --witness-dir") from error
        written.append(Written(path, replaced))
    return written


def _differs(path: Path, content: bytes) -> bool:
    """Tell whether a file holds something else."""
    return path.is_file() and path.read_bytes() != content


def _write_pair(claim: ClaimResult, folder: Path) -> Written:
    """Store the two images that refute a declared Lipschitz constant."""
    path = folder / "lipschitz.witness.npz"
    if claim.pair is None:
        raise ValueError("only a refuted claim has a pair")
    stored = io.BytesIO()
    np.savez(stored, first=claim.pair.first, second=claim.pair.second, ratio=claim.pair.ratio, lower=claim.pair.lower)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        replaced = _differs(path, stored.getvalue())
        path.write_bytes(stored.getvalue())
    except OSError as error:
        raise WitnessPathError(str(path), f"cannot write: {error.strerror}", "choose --witness-dir") from error
    return Written(path, replaced)


def _document(report: CheckReport, prop: PropertyResult) -> dict[str, object]:
    return {
        "schema": "robspec-witness",
        "schema_version": 1,
        "property": prop.source.name,
        "arithmetic": report.arithmetic,
        "images": report.images if prop.data is None else prop.data.images,
        "files": dict(report.files),
        "sha256": {**report.hashes, **({} if prop.data is None else {"data": prop.data.sha256})},
        "violations": [_violation(prop, r) for r in prop.requirements if r.verdict is Verdict.REFUTED],
    }


def _violation(prop: PropertyResult, result: RequirementResult) -> dict[str, object]:
    named = set(result.witnesses)
    return {
        "requirement": result.requirement.text,
        "attained": _text(result.attained),
        "reason": result.reason,
        "images": [
            {"image": i.image, "attained": _text(i.attained[result.point]), **_place(i, result.point)}
            for i in prop.images
            if i.image in named
        ],
    }


def _text(value: Value | None) -> str:
    return str(value) if value is None else exact_text(value)


def _place(image: ImageResult, point: int) -> dict[str, str]:
    """Where the image that attains a value is, and how far from the clean one (rounded up)."""
    attack = image.attacks[point] if image.attacks else None
    return {"distance": "0"} if attack is None else {"distance": str(attack.distance), "stored": attack.path.name}


def _store_attacks(report: CheckReport, prop: PropertyResult, folder: Path) -> None:
    """Copy the images that refute a property beside its witness, each with a view of it in 8 bits."""
    for result in prop.requirements:
        if result.verdict is not Verdict.REFUTED:
            continue
        for image in prop.images:
            attack = image.attacks[result.point] if image.attacks else None
            if attack is not None and image.image in result.witnesses:
                shutil.copyfile(attack.path, folder / attack.path.name)
                # Of a metric of the whole data set, one file holds the images of all; they have no view.
                if attack.path.suffix == ".npy":
                    _preview(report, attack.path).save((folder / attack.path.name).with_suffix(".png"))


def _preview(report: CheckReport, path: Path) -> Image.Image:
    low, high = float(report.program.model.low), float(report.program.model.high)
    pixels = np.load(path, allow_pickle=False).astype(np.float64)
    if pixels.shape[0] not in (1, 3):
        pixels = pixels.mean(axis=0, keepdims=True)
    levels = np.rint(np.clip((pixels - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)) if len(levels) == 3 else levels[0])

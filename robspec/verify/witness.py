"""Writes what refutes a property, so that others can replay it."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path

import numpy as np

from robspec.verify.errors import WitnessPathError
from robspec.verify.result import CheckReport, ClaimResult, PropertyResult, RequirementResult, Verdict


def write_witnesses(report: CheckReport, folder: Path) -> list[Path]:
    """Write one JSON file per refuted property.

    Args:
        report: the finished check.
        folder: created when needed; untouched when nothing is refuted.

    Returns:
        The files written, each naming the images, their distance from the clean image (0: they are the clean
        images) and the exact values they attain.

    Raises:
        WitnessPathError: the folder or a file cannot be written (E0603).
    """
    refuted = [p for p in report.properties if p.verdict is Verdict.REFUTED]
    paths = [_write_pair(c, folder) for c in report.claims if c.pair is not None]
    for prop in refuted:
        path = folder / f"{prop.source.name}.witness.json"
        content = json.dumps(_document(report, prop), indent=2) + "\n"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=folder, delete=False, encoding="utf-8") as stream:
                stream.write(content)
            Path(stream.name).chmod(0o644)
            Path(stream.name).replace(path)
        except OSError as error:
            raise WitnessPathError(str(path), f"cannot write: {error.strerror}", "choose --witness-dir") from error
        paths.append(path)
    return paths


def _write_pair(claim: ClaimResult, folder: Path) -> Path:
    """Store the two images that refute a declared Lipschitz constant."""
    path = folder / "lipschitz.witness.npz"
    if claim.pair is None:
        raise ValueError("only a refuted claim has a pair")
    stored = io.BytesIO()
    np.savez(stored, first=claim.pair.first, second=claim.pair.second, ratio=claim.pair.ratio, lower=claim.pair.lower)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored.getvalue())
    except OSError as error:
        raise WitnessPathError(str(path), f"cannot write: {error.strerror}", "choose --witness-dir") from error
    return path


def _document(report: CheckReport, prop: PropertyResult) -> dict[str, object]:
    return {
        "schema": "robspec-witness",
        "schema_version": 1,
        "property": prop.source.name,
        "files": dict(report.files),
        "sha256": dict(report.hashes),
        "violations": [_violation(prop, r) for r in prop.requirements if r.verdict is Verdict.REFUTED],
    }


def _violation(prop: PropertyResult, result: RequirementResult) -> dict[str, object]:
    named = set(result.witnesses)
    return {
        "requirement": result.requirement.text,
        "attained": str(result.attained),
        "reason": result.reason,
        "images": [
            {"image": i.image, "distance": "0", "attained": str(i.attained[result.point])}
            for i in prop.images
            if i.image in named
        ],
    }

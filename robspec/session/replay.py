"""A witness shown again: its images are read, measured and judged anew, and nothing of what it says is believed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robspec.data import arrays, reading
from robspec.data.dataset import Dataset
from robspec.ir.types import Program, WorstCaseQuery
from robspec.lipschitz.rounding.kinds import KINDS
from robspec.session.opening import open_session
from robspec.verify import documents
from robspec.verify.attack import Attacker
from robspec.verify.effort import Effort
from robspec.verify.errors import BadWitness
from robspec.verify.evaluate import is_pooled
from robspec.verify.result import PropertyResult, Verdict
from robspec.verify.run import check, property_result

_MOST = 64 << 20


@dataclass(frozen=True, slots=True)
class Shown:
    """One stored image, judged again.

    Args:
        image: the clean image's name.
        path: the stored image.
        distance: from the clean image, rounded up; None where it is no image within the input range.
        value: of the metric, None where it has none.
    """

    image: str
    path: Path
    distance: Fraction | None
    value: Fraction | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a witness.

    Args:
        result: of the property, judged on this model and data with the witness's images in place of clean ones.
        shown: the stored images.
        differing: which files are not those that the witness was written about.
        about: the line of a report that says what the verdict is about.
        part: of how many images it is, where the witness is about the first of them only; else empty.
    """

    result: PropertyResult
    shown: tuple[Shown, ...]
    differing: tuple[str, ...]
    about: str
    part: str = ""

    @property
    def violated(self) -> bool:
        """Whether the violation is there again."""
        return self.result.verdict is Verdict.REFUTED


def replay(
    witness: Path, program: Program, model: Path, spec: Path, *, data: Path | None = None, spec_sha256: str = ""
) -> Replayed:
    """Show a violation again.

    Args:
        witness: written by `robspec check`; the images it names lie beside it.
        program: the compiled specification.
        model: the model file.
        spec: the specification's file, whose folder the data globs start from.
        data: another folder for them to start from, or None.
        spec_sha256: of the specification's text, to be compared with the witness's.

    Returns:
        The property's result; whatever is stored counts only where it lies within the budget of a clean image.

    Raises:
        BadWitness: E0605, no witness, of another version, of a property that the specification has not, or of an
            attack on all images together.
        RobspecError: the model or the data is wrong.
    """
    written = "name one that `robspec check` wrote into its --witness-dir"
    found = documents.read(witness, "robspec-witness", 1, BadWitness, _MOST, written)
    name = str(found.get("property"))
    prop = next((p for p in program.properties if p.name == name), None)
    if prop is None:
        raise BadWitness(str(witness), f"the specification has no property {name[:64]!r}", "name its specification")
    if isinstance(prop.query, WorstCaseQuery) and prop.query.metric.of_data_set and ".npz" in json.dumps(found):
        what = "it holds an attack on a whole data set, which cannot be shown again yet"
        raise BadWitness(str(witness), what, "search again: `robspec check --attack`")
    program = program.alone(prop)
    statement = found.get("arithmetic", "exact")
    if statement not in KINDS:
        raise BadWitness(str(witness), "it does not say what it is about", written)
    # So many images were looked at, the first by name.
    first = found.get("images")
    session = open_session(
        program,
        model,
        spec,
        data=data,
        arch=None,
        key=None,
        prefix="",
        assume=None,
        backend="auto",
        forward="model",
        arithmetic=statement,
        limit=first if isinstance(first, int) and first > 0 else None,
    )
    report = check(program, session.model, session.data, session.backend, session.established, batch_size=1)
    attacker = Attacker(program, session.model, session.backend, Effort(0), witness.parent, witness.parent)
    result, shown = _judged(report.properties[0], attacker, session.data, _stored(found, witness))
    hashes = found.get("sha256")
    now = {"spec": spec_sha256, "model": session.model.sha256, "data": session.data.digest()}
    differing = tuple(k for k, v in now.items() if isinstance(hashes, dict) and v and hashes.get(k) != v)
    about = next(line for line in report.notes if line.startswith("arithmetic:"))
    seen, left = len(session.data), session.left_out
    part = f"of the first {seen} of {seen + left} images" if left else ""
    return Replayed(result, shown, differing, about, part)


def _judged(
    prop: PropertyResult, attacker: Attacker, data: Dataset, stored: dict[str, tuple[Path, ...]]
) -> tuple[PropertyResult, tuple[Shown, ...]]:
    """Judge the stored images in place of clean ones."""
    images, shown = list(prop.images), []
    if is_pooled(prop.source):
        return prop, ()
    for place, clean in enumerate(prop.images):
        if clean.image not in stored:
            continue
        batch = next(iter(data.only([place]).batches(1)))
        for path in stored[clean.image]:
            raw = arrays.load(reading.file_bytes(path, path.name), False, batch.images.numel(), path.name)
            if raw.shape != tuple(batch.images.shape[1:]) or raw.dtype not in (np.float32, np.float64):
                shown.append(Shown(clean.image, path, None, None))
                continue
            image = torch.from_numpy(np.array(raw, dtype=np.float32))[None]
            found = [images[place]]
            ((distance, value),) = attacker.judge(prop.source, prop.constant, batch, image, [path], found)
            shown.append(Shown(clean.image, path, distance, value))
            images[place] = found[0]
    again = property_result(prop.source, prop.constant, images, complete=True)
    return again, tuple(shown)


def _stored(found: dict[str, Any], witness: Path) -> dict[str, tuple[Path, ...]]:
    """The stored images by the names of the clean ones; a name with a folder in it is none."""
    stored: dict[str, dict[Path, None]] = {}
    for violation in found.get("violations") or ():
        for entry in violation.get("images") or () if isinstance(violation, dict) else ():
            name = entry.get("stored") if isinstance(entry, dict) else None
            if isinstance(name, str) and name == Path(name).name and name.endswith(".npy"):
                stored.setdefault(str(entry.get("image")), {})[witness.parent / name] = None
    return {image: tuple(paths) for image, paths in stored.items()}

"""A witness shown again: its images are read, measured and judged anew, and nothing of what it says is believed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robspec.bounds import open_bound
from robspec.data import arrays, reading
from robspec.ir.types import Program, Property, WorstCaseQuery
from robspec.semantics.constant import Constant
from robspec.session.opening import open_session
from robspec.verify import documents
from robspec.verify.attack import Attacker, taken_over
from robspec.verify.descent import distance_up
from robspec.verify.errors import BadWitness
from robspec.verify.result import Attack, ImageResult, PropertyResult, Verdict
from robspec.verify.run import ImageBatch, check

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
    """

    result: PropertyResult
    shown: tuple[Shown, ...]
    differing: tuple[str, ...]

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
    session = open_session(
        program, model, spec, data=data, arch=None, key=None, prefix="", assume=None, backend="auto", forward="model"
    )
    replayer = _Replayer(program, session.model, session.backend, 1, witness.parent, witness.parent)
    replayer.stored = _stored(found, witness)
    report = check(
        program, session.model, session.data, session.backend, session.established, batch_size=1, attacker=replayer
    )
    hashes = found.get("sha256")
    now = {"spec": spec_sha256, "model": session.model.sha256, "data": session.data.digest()}
    differing = tuple(k for k, v in now.items() if isinstance(hashes, dict) and v and hashes.get(k) != v)
    return Replayed(report.properties[0], tuple(replayer.shown), differing)


class _Replayer(Attacker):
    """Stands where a search does, and tries what is stored."""

    def improve(
        self, prop: Property, constant: Constant, batch: ImageBatch, results: Sequence[ImageResult]
    ) -> list[ImageResult]:
        """Judge the stored images of a batch of one."""
        query = prop.query
        found = list(results)
        if not isinstance(query, WorstCaseQuery) or query.metric.of_data_set:
            return found
        (clean,) = batch.images
        for path in self.stored.get(batch.names[0], ()):
            raw = arrays.load(reading.file_bytes(path, path.name), False, clean.numel(), path.name)
            if raw.shape != tuple(clean.shape) or raw.dtype not in (np.float32, np.float64):
                self.shown.append(Shown(batch.names[0], path, None, None))
                continue
            image = torch.from_numpy(np.array(raw, dtype=np.float32))
            if not self._in_range(image):
                self.shown.append(Shown(batch.names[0], path, None, None))
                continue
            distance = distance_up(image.numpy(), clean.numpy(), query.norm)
            value = None
            if all(self._finite(image[None])):
                context = self._context(batch, self._model.logits(image[None]), image[None])
                value = open_bound(query.metric, context, constant).clean()[0]
            self.shown.append(Shown(batch.names[0], path, distance, value))
            for point, eps in enumerate(query.budgets):
                if value is not None and distance <= eps:
                    attack = Attack(distance, path)
                    self._compare(found[0], point, value, attack, query.metric, constant)
                    found[0] = taken_over(found[0], point, value, attack, query.metric)
        return found

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.stored: dict[str, tuple[Path, ...]] = {}
        self.shown: list[Shown] = []


def _stored(found: dict[str, Any], witness: Path) -> dict[str, tuple[Path, ...]]:
    """The stored images by the names of the clean ones; a name with a folder in it is none."""
    stored: dict[str, dict[Path, None]] = {}
    for violation in found.get("violations") or ():
        for entry in violation.get("images") or () if isinstance(violation, dict) else ():
            name = entry.get("stored") if isinstance(entry, dict) else None
            if isinstance(name, str) and name == Path(name).name and name.endswith(".npy"):
                stored.setdefault(str(entry.get("image")), {})[witness.parent / name] = None
    return {image: tuple(paths) for image, paths in stored.items()}

"""What an earlier check found of the same model file, so that the next need not open it, nor import torch.

Kept is what the file's bytes and the question decide together: shapes, proved constants, bounds of rounding, and what
logits in the store are known by. The key holds all of that, robspec's own code, the versions of what it stands on,
the processor and the variables that libraries read: so nothing has to be invalidated.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import robspec
from robspec.ir import serialise
from robspec.ir.errors import BadProgram
from robspec.ir.types import Program
from robspec.kept import directory, keep, kept
from robspec.models.choice import Choice
from robspec.semantics.constant import Constant
from robspec.session.errors import ModelIsAnother
from robspec.verify.established import Established
from robspec.verify.evaluate import metrics_of
from robspec.verify.result import ClaimResult, Verdict
from robspec.verify.run import versions

if TYPE_CHECKING:
    from robspec.models.loading import LoadedModel
    from robspec.session.opening import Session

_REVISION = 1
_SETTLED = 10.0
"""Seconds after a change of robspec's own files in which nothing is remembered."""
_LIBRARIES = (
    *("ATEN_", "BLIS_", "CUDA_", "DNNL_", "GOMP_", "KMP_", "LD_", "MKL_", "NUMBA_", "OMP_", "ONEDNN_"),
    *("OPENBLAS_", "PYTORCH_", "TORCH"),
)
"""Beginnings of variables that may decide how many threads there are, or which kernels."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is kept of a model that was opened.

    Args:
        established: its constants, without their proofs.
        arithmetic: what verdicts are about, "exact" or "real".
        wide: whether it is run in float64.
        notes: how the file was read, in lines for a report.
        peeled: last operations that were taken off.
        input_shape: C, H, W.
        output_shape: K, H, W; K alone of whole images.
        identity: what its logits are kept under.
    """

    established: Established
    arithmetic: str
    wide: bool
    notes: tuple[str, ...]
    peeled: tuple[str, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    identity: Mapping[str, str]


class Unopened:
    """Stands for a model of which enough is remembered; whatever else is asked of it opens the file.

    Args:
        path: the file.
        sha256: of its bytes.
        found: what is remembered.
        opening: opens it.
    """

    second = None

    def __init__(self, path: Path, sha256: str, found: Remembered, opening: Callable[[], Session]) -> None:
        self.path, self.sha256, self.peeled = path, sha256, found.peeled
        self.input_shape, self.output_shape = found.input_shape, found.output_shape
        self._found, self._opening = found, opening

    @cached_property
    def session(self) -> Session:
        """The session of the same question with the file opened.

        Raises:
            ModelIsAnother: E0608, it is not what is remembered.
        """
        opened = self._opening()
        one, other = opened.established, self._found.established
        same = (one.constants, one.claims) == (other.constants, other.claims)
        if not same or identity(opened.model) != dict(self._found.identity):
            raise ModelIsAnother(str(self.path))
        return opened

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.session.model, name)


def key(
    program: Program, sha256: str, choice: Choice, *, forward: str, arithmetic: str | None, unreal: str
) -> str | None:
    """Hash everything that decides what is remembered; None where robspec's own files have just changed.

    Args:
        program: the compiled specification.
        sha256: of the model file.
        choice: which part of the file is meant.
        forward: "model" or "float64".
        arithmetic: what verdicts are to be about, or None.
        unreal: why nothing about the reals can be had; or empty.
    """
    # All of the question but its numbers, whatever of it constants depend on.
    asked: list[object] = [serialise.encoded(program.model), serialise.encoded(program.data), repr(choice)]
    for prop in program.properties:
        metrics = [serialise.encoded(metric) for metric in metrics_of(prop.query)]
        asked.append([type(prop.query).__name__, str(prop.query.norm), metrics])
    code = _code()
    if code is None:
        return None
    parts = [_REVISION, code, versions(), _machine(), sha256, asked, forward, arithmetic, unreal]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def recall(name: str) -> Remembered | None:
    """Read what was kept under a key; None where there is nothing, or nothing that can be read."""
    entry = kept(_path(name))
    try:
        return None if entry is None else _decoded(entry)
    except (BadProgram, KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def remember(name: str, session: Session, wide: bool, notes: tuple[str, ...]) -> None:
    """Keep what was found of a model that was opened.

    Args:
        name: the key.
        session: what came of opening it.
        wide: whether it is run in float64.
        notes: how the file was read.
    """
    model, found = session.model, session.established
    if found.tail is not None or model.second is not None:
        raise ValueError("not all of this can be remembered")
    if any(c.verdict is not Verdict.PROVED or c.proved is None for c in found.claims):
        return  # a pair of images that speaks against it is looked for again
    keep(
        _path(name),
        {
            "constants": [serialise.encoded(c) for c in found.constants],
            "claims": [[c.text, str(c.claimed), str(c.proved), c.reason] for c in found.claims],
            "established": {n: getattr(found, n) for n in ("notes", "apart", "arithmetic", "unreal")},
            "arithmetic": session.arithmetic,
            "wide": wide,
            "notes": notes,
            "peeled": model.peeled,
            "shapes": [model.input_shape, model.output_shape],
            "identity": identity(model),
        },
    )


def identity(model: LoadedModel) -> dict[str, str]:
    """Name all that decides a model's logits besides the pixels."""
    import torch

    from robspec.lipschitz.cache import key as key_of
    from robspec.semantics.norm import L2

    return {
        "revision": "4",  # one more whenever the same model may give other logits than before
        "model": model.sha256,
        "program": key_of(model.program, L2, L2),
        "normalize": repr(model.normalize),
        "dtype": f"{model.dtype} {model.forward_dtype} {model.device}",
        "versions": json.dumps(versions(), sort_keys=True),
        "machine": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} {torch.get_num_threads()}",
    }


def _path(name: str) -> Path:
    return directory("opened") / f"{name}.json"


def _code() -> str | None:
    """What robspec's own files are, by size and time of change; None where one changed within seconds."""
    root, found = Path(robspec.__file__).parent, []
    for folder, _, names in os.walk(root, followlinks=True):  # a checkout holds its kernels beside it
        paths = (Path(folder) / name for name in names if name.endswith(".py"))
        found += [(str(p.relative_to(root)), p.stat()) for p in paths]
    listed = sorted(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in found)
    # What has just changed may not be what was imported.
    settled = time.time() - max((stat.st_mtime for _, stat in found), default=0.0) > _SETTLED
    return hashlib.sha256("\n".join(listed).encode()).hexdigest() if settled else None


def _machine() -> list[str]:
    """The processor, how many of it this process may use, and what libraries are told."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
        lines = [line for line in told.splitlines() if line.startswith(("model name", "flags", "Features"))]
    except OSError:
        lines = [platform.processor()]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    variables = sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith(_LIBRARIES))
    return [platform.platform(), *lines, str(os.cpu_count()), str(usable), *variables]


def _decoded(entry: Mapping[str, Any]) -> Remembered:
    given = entry["established"]
    established = Established(
        constants=tuple(serialise.decoded(c, Constant) for c in entry["constants"]),
        claims=tuple(
            ClaimResult(text, Fraction(claimed), Fraction(proved), None, Verdict.PROVED, reason, None)
            for text, claimed, proved, reason in entry["claims"]
        ),
        notes=tuple(given["notes"]),
        apart=given["apart"],
        arithmetic=given["arithmetic"],
        unreal=given["unreal"],
    )
    images, logits = entry["shapes"]
    return Remembered(
        established=established,
        arithmetic=entry["arithmetic"],
        wide=entry["wide"],
        notes=tuple(entry["notes"]),
        peeled=tuple(entry["peeled"]),
        input_shape=tuple(images),
        output_shape=tuple(logits),
        identity=entry["identity"],
    )

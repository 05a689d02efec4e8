"""A disagreement as a small file, and the file run again."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from robspec.ir.serialise import from_json, to_json
from robspec.kernels.knapsack import Backend
from robspec.oracle.compare import Comparison, Subject
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import Norm
from robspec.verify.case import Case, Kind
from robspec.verify.crosscheck import CrossCheck
from robspec.verify.errors import ReproducerError, WitnessPathError
from robspec.verify.piece import Piece

SCHEMA = "robspec-reproducer"
_MOST = 256 << 20
_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}


def write_reproducer(case: Case, comparison: Comparison, collected: CrossCheck, folder: Path) -> Path:
    """Shrink a question that two computations answer differently, and write it down.

    Args:
        case: the question.
        comparison: how the answers differ.
        collected: knows the program and the backend.
        folder: created when needed.

    Returns:
        The file.

    Raises:
        WitnessPathError: it cannot be written (E0603).
    """
    smallest = case.shrunk(collected.backend)
    again = comparison if smallest is case else smallest.run(collected.backend)
    program = replace(collected.program, properties=(smallest.prop,))
    document = {
        "schema": SCHEMA,
        "schema_version": 1,
        "kind": smallest.kind.value,
        "thorough": smallest.thorough,
        "image": case.subject.image,
        "part": case.subject.part,
        "found": {"bound": again.bound, "optimum": again.optimum, "note": again.note},
        "constant": str(case.constant.value),
        **({"rounding": str(case.constant.rounding)} if case.constant.rounding else {}),
        "input_norm": _norm_text(case.constant.input_norm),
        "output_norm": _norm_text(case.constant.output_norm),
        "ignore": case.ignore,
        "program": to_json(program),
        "pieces": [_piece(p) for p in smallest.pieces],
    }
    words = re.sub(r"[^A-Za-z0-9]+", "-", f"{case.subject.property}-{case.subject.image}-{case.subject.part}")
    path = folder / f"{words.strip('-')}-{case.kind.value}.reproducer.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise WitnessPathError(str(path), f"cannot write: {error.strerror}", "choose --witness-dir") from error
    return path


def reproduce(path: Path, backend: Backend) -> Comparison:
    """Ask the question of a reproducer again.

    Args:
        path: the file.
        backend: computes the bound.

    Returns:
        The comparison as it comes out now.

    Raises:
        ReproducerError: the file is missing or no reproducer (E0801).
    """
    try:
        if path.stat().st_size > _MOST:
            raise ReproducerError(str(path), "the file is too large", "name a reproducer")
        case = _read(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ReproducerError(
            str(path), f"it cannot be opened: {error.strerror or error}", "check the path and its permissions"
        ) from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise ReproducerError(str(path), "it is no reproducer", "name a file a cross-check has written") from error
    return case.run(backend)


def _read(document: Any) -> Case:
    if document["schema"] != SCHEMA or document["schema_version"] != 1:
        raise ValueError("another schema")
    program = from_json(document["program"])
    prop = program.properties[0]
    norms = [Norm(None if t is None else Fraction(t)) for t in (document["input_norm"], document["output_norm"])]
    constant = Constant(Fraction(document["constant"]), norms[0], norms[1], ConstantStatus.ASSUMED)
    constant = replace(constant, rounding=Fraction(document.get("rounding", 0)))
    ignore = document["ignore"]
    return Case(
        kind=Kind(document["kind"]),
        subject=Subject(str(document["image"]), prop.name, f"{document['part']}, reduced"),
        prop=prop,
        constant=constant,
        ignore=None if ignore is None else int(ignore),
        pieces=tuple(_unpiece(p) for p in document["pieces"]),
        thorough=bool(document["thorough"]),
    )


def _piece(piece: Piece) -> dict[str, Any]:
    rest = {name: getattr(piece, name) for name in ("labels", "region", "weights")}
    return {
        "dtype": str(piece.logits.dtype).removeprefix("torch."),
        "logits": piece.logits.to(torch.float64).tolist(),
        **{name: None if t is None else t.tolist() for name, t in rest.items()},
    }


def _unpiece(value: Any) -> Piece:
    logits = torch.tensor(value["logits"], dtype=torch.float64).to(_DTYPES[value["dtype"]])
    if logits.ndim != 3 or not len(logits) or not torch.isfinite(logits).all():
        raise ValueError("bad logits")

    def of(name: str, dtype: torch.dtype) -> torch.Tensor | None:
        if value[name] is None:
            return None
        found = torch.tensor(value[name], dtype=dtype)
        if found.shape != logits.shape[1:]:
            raise ValueError("shapes differ")
        return found

    return Piece(logits, of("labels", torch.int64), of("region", torch.bool), of("weights", torch.float64))


def _norm_text(norm: Norm) -> str | None:
    return None if norm.p is None else str(norm.p)

"""Keeps bounds of rounding beside the proofs of constants, keyed by all they depend on."""

from __future__ import annotations

import hashlib
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from robspec.function.program import AnyProgram
from robspec.kept import keep, kept
from robspec.lipschitz.cache import folder, key
from robspec.lipschitz.rounding.precision import DOUBLE, Precision
from robspec.lipschitz.rounding.recursion import Box, Line, Rounding, bound
from robspec.semantics.norm import L2

ROUNDING_VERSION = 8
"""Raised whenever a rule of rounding changes what it charges; part of every key."""


def cached(
    program: AnyProgram, box: Box, precision: Precision = DOUBLE, *, directory: Path | None = None
) -> Rounding:
    """Bound the rounding of a forward pass, or read an earlier bound of exactly this graph and these images.

    Args:
        program: the exported program.
        box: the images.
        precision: of the pass.
        directory: where entries live; the user's cache directory if None.

    Raises:
        RobspecError: as `bound`; failures are not kept.
    """
    sides = [v.hex() for part in (box.middle, box.radius, box.given) for v in part]
    # Weights of resampling are read off what this torch computes on this processor.
    machine = [torch.__version__, platform.machine(), torch.backends.cpu.get_cpu_capability()]
    asked = [key(program, L2, L2), str(ROUNDING_VERSION), precision.name, *machine, *sides]
    digest = hashlib.sha256("|".join(asked).encode())
    path = folder(directory) / f"rounding-{digest.hexdigest()}.json"
    fields = kept(path)
    found = None if fields is None else _decoded(fields)
    if found is None:
        (found,) = bound(program, box, (precision,))
        keep(path, _encoded(found))
    return found


def _encoded(rounding: Rounding) -> dict[str, Any]:
    fields = asdict(rounding)
    for record in (fields, *fields["lines"]):
        for name, value in record.items():
            if isinstance(value, float):
                record[name] = value.hex()
    return fields


def _decoded(fields: dict[str, Any]) -> Rounding | None:
    try:
        lines = [
            Line(
                name=str(line["name"]),
                module=str(line["module"]),
                rule=str(line["rule"]),
                magnitude=float.fromhex(line["magnitude"]),
                added=float.fromhex(line["added"]),
                error=float.fromhex(line["error"]),
                share=float.fromhex(line["share"]),
                what=str(line["what"]),
            )
            for line in fields["lines"]
        ]
        return Rounding(
            float.fromhex(fields["delta"]), str(fields["precision"]), float.fromhex(fields["given"]), tuple(lines)
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None

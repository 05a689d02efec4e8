"""robspec from Python: what the commands do, returning what they print."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from robspec.diagnostics import SpecError
from robspec.ir.types import Program
from robspec.lipschitz.derivation import Derivation
from robspec.lower import compile_source
from robspec.lower.compile import compile_file
from robspec.report.json import SCHEMA, SCHEMA_VERSION
from robspec.semantics.norm import L1, L2, LINF
from robspec.syntax.source import read_source
from robspec.verify.errors import BadReport
from robspec.verify.result import CheckReport

Number = int | str | Decimal | Fraction
"""An exact number: no float, whose decimal somebody may not have meant."""
_MOST = 1 << 30


def compile(spec: Path | str, *, params: Mapping[str, Number] | None = None) -> Program:  # noqa: A001
    """Compile a specification, as `robspec compile` does.

    Args:
        spec: its file.
        params: exact values that replace those of declared params.

    Returns:
        The program; print it with `robspec.ir.print.text`.

    Raises:
        SpecError: the specification has errors; carries all diagnostics.
    """
    return compile_file(spec, _exact(params))


def prove(model: Path | str, *, input_norm: str = "l2", output_norm: str = "l2") -> Derivation:
    """Prove a model's Lipschitz constant from its graph, as `robspec lipschitz` does.

    Args:
        model: a torch.export archive.
        input_norm: "l1", "l2" or "linf", of images.
        output_norm: the same, of logits.

    Returns:
        The derivation: its `bound` is rounded up, its rows say where it comes from.

    Raises:
        RobspecError: the file is refused, or no constant can be proved.
    """
    from robspec.lipschitz.cache import cached
    from robspec.models.loading import load

    norms = {norm.name: norm for norm in (L1, L2, LINF)}
    unknown = {input_norm, output_norm} - set(norms)
    if unknown:
        raise ValueError(f"no norm is called {', '.join(sorted(unknown))}; there are {', '.join(norms)}")
    loaded = load(Path(model))
    return cached(loaded.program, input_norm=norms[input_norm], output_norm=norms[output_norm])


def check(
    model: Path | str, spec: Path | str, *, params: Mapping[str, Number] | None = None, **options: Any
) -> CheckReport:
    """Check every property of a specification for a model, as `robspec check` does, and write nothing.

    Args:
        model: a torch.export archive, or weights with `arch`.
        spec: the specification's file.
        params: exact values that replace those of declared params.
        options: fields of `robspec.session.check.Options`: `data`, `attack`, `cross_check`, `forward`, ...

    Returns:
        The report: `exit_status()` is that of the command, `properties` hold verdicts and every value.

    Raises:
        SpecError: the specification has errors; carries all diagnostics.
        RobspecError: the model, the data or an option is wrong, or a bound does not hold.
    """
    from robspec.session.check import Check, Options

    source = read_source(spec)
    program, diagnostics = compile_source(source, _exact(params))
    if program is None:
        raise SpecError(diagnostics, source)
    known = {field.name for field in fields(Options)}
    if not set(options) <= known:
        raise TypeError(f"no option {', '.join(sorted(set(options) - known))}; there are {', '.join(sorted(known))}")
    for name in ("data", "witness_dir"):
        if options.get(name) is not None:
            options[name] = Path(options[name])
    with Check(program, source, diagnostics, Path(model), Path(spec), Options(**options)) as work:
        return work.finish(work.run()).report


def load_report(path: Path | str) -> dict[str, Any]:
    """Read a JSON report, as `robspec check --format json` writes it.

    Args:
        path: the file, of at most 1 GiB.

    Returns:
        The document; see docs/reference/report-json.md.

    Raises:
        BadReport: E0604, no report, or of another version.
    """
    where = Path(path)
    try:
        if where.stat().st_size > _MOST:
            raise BadReport(str(where), f"the file is larger than {_MOST >> 30} GiB", "name a report")
        found = json.loads(where.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadReport(str(where), f"it cannot be read as JSON: {error}", "name a report") from error
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise BadReport(str(where), "it is no report of `robspec check`", "write one with --format json")
    if found.get("schema_version") != SCHEMA_VERSION:
        said = found.get("schema_version")
        raise BadReport(str(where), f"it is of version {said!r}, this robspec reads {SCHEMA_VERSION}", "check again")
    return found


def _exact(params: Mapping[str, Number] | None) -> dict[str, Fraction]:
    if params is None:
        return {}
    floats = [name for name, value in params.items() if isinstance(value, float)]
    if floats:
        raise TypeError(f"{floats[0]} is a float; pass text such as '0.1', a Decimal or a Fraction, which are exact")
    return {name: Fraction(value) for name, value in params.items()}

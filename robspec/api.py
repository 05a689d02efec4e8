"""robspec from Python: what the commands do, returning what they print."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from robspec.diagnostics import Source, SpecError
from robspec.ir.types import Program
from robspec.lipschitz.derivation import Derivation
from robspec.lower import compile_source
from robspec.report.json import SCHEMA, SCHEMA_VERSION
from robspec.semantics.norm import L1, L2, LINF
from robspec.syntax.building import Spec as Spec
from robspec.syntax.parse import parse
from robspec.syntax.source import read_source
from robspec.verify import documents
from robspec.verify.errors import BadReport
from robspec.verify.result import CheckReport

Specification = Path | str | Spec
"""A file, a text (of several lines, or with a block in it), or an object."""
Number = int | str | Decimal | Fraction
"""An exact number: no float, whose decimal somebody may not have meant."""
_MOST = 1 << 30


def compile(  # noqa: A001
    spec: Specification, *, params: Mapping[str, Number] | None = None, use: str | None = None
) -> Program:
    """Compile a specification, as `robspec compile` does.

    Args:
        spec: its file, its text, or a `Spec`.
        params: exact values that replace those of declared params.
        use: the data block, in place of what the specification says to use.

    Returns:
        The program; print it with `robspec.ir.print.text`.

    Raises:
        SpecError: the specification has errors; carries all diagnostics.
    """
    source, _ = _source(spec)
    program, diagnostics = compile_source(source, _exact(params), use)
    if program is None:
        raise SpecError(diagnostics, source)
    return program


def prove(
    model: Any,
    *,
    input_norm: str = "l2",
    output_norm: str = "l2",
    shape: tuple[int, int, int] | None = None,
    output: str | None = None,
) -> Derivation:
    """Prove a model's Lipschitz constant from its graph, as `robspec lipschitz` does.

    Args:
        model: an archive, an ONNX file, an ExportedProgram, or an nn.Module in evaluation mode.
        input_norm: "l1", "l2" or "linf", of images.
        output_norm: the same, of logits.
        shape: C, H, W of one image; of a module, and where a file leaves it open.
        output: which of several outputs, or which value of an ONNX graph, the logits are.

    Returns:
        The derivation: its `bound` is rounded up, its rows say where it comes from.

    Raises:
        RobspecError: the model is refused, or no constant can be proved.
    """
    from robspec.lipschitz.cache import cached
    from robspec.models.choice import Choice
    from robspec.models.loading import load
    from robspec.session.given import model_file

    norms = {norm.name: norm for norm in (L1, L2, LINF)}
    unknown = {input_norm, output_norm} - set(norms)
    if unknown:
        raise ValueError(f"no norm is called {', '.join(sorted(unknown))}; there are {', '.join(norms)}")
    with tempfile.TemporaryDirectory(prefix="robspec-") as folder:
        path, choice = model_file(model, Path(folder), shape, Choice(output=output, shape=shape))
        loaded = load(path, choice=choice)
    return cached(loaded.program, input_norm=norms[input_norm], output_norm=norms[output_norm])


def check(
    model: Any,
    spec: Specification,
    *,
    params: Mapping[str, Number] | None = None,
    data: Any = None,
    use: str | None = None,
    **options: Any,
) -> CheckReport:
    """Check every property of a specification for a model, as `robspec check` does, and write nothing.

    Args:
        model: an archive, an ONNX file, weights with `arch`, an ExportedProgram, or an nn.Module in evaluation mode.
        spec: the specification's file, its text, or a `Spec`.
        params: exact values that replace those of declared params.
        data: the folder that the data globs start from, by default that of the specification's file, or the current
            one; or a torch Dataset or DataLoader of (image, mask) or (image, label), which takes the place of what
            the specification says of its data, the name and `ignore` of the block it uses excepted.
        use: the data block, in place of what the specification says to use.
        options: fields of `robspec.session.check.Options`: `attack`, `cross_check`, `forward`, `choice`, ...

    Returns:
        The report: `exit_status()` is that of the command, `properties` hold verdicts and every value.

    Raises:
        SpecError: the specification has errors; carries all diagnostics.
        RobspecError: the model, the data or an option is wrong, or a bound does not hold.
    """
    from robspec.session.check import Options
    from robspec.session.given import data_files, model_file
    from robspec.session.several import open_check

    known = {field.name for field in fields(Options)} - {"data"}
    if not set(options) <= known:
        raise TypeError(_unknown(sorted(set(options) - known), sorted(known)))
    if options.get("assume") is not None:
        options["assume"] = _exact({"assume": options["assume"]})["assume"]
    if options.get("witness_dir") is not None:
        options["witness_dir"] = Path(options["witness_dir"])
    with tempfile.TemporaryDirectory(prefix="robspec-") as folder:
        source, place = _source(spec)
        if data is None or isinstance(data, str | Path):
            options["data"] = None if data is None else Path(data)
        else:
            options["data"] = Path(folder)
            source = _on(source, data_files(data, Path(folder)), use)
        program, diagnostics = compile_source(source, _exact(params), use)
        if program is None:
            raise SpecError(diagnostics, source)
        asked = Options(**options)
        path, choice = model_file(model, Path(folder), program.model.input_shape, asked.choice)
        asked = replace(asked, choice=choice)
        with open_check(program, source, diagnostics, path, place, asked) as work:
            report = work.finish(work.run()).report
    if path.parent == Path(folder):
        report = replace(report, files={**report.files, "model": path.stem})
    return report


def load_report(path: Path | str) -> dict[str, Any]:
    """Read a JSON report, as `robspec check --format json` writes it.

    Args:
        path: the file, of at most 1 GiB.

    Returns:
        The document; see docs/reference/report-json.md.

    Raises:
        BadReport: E0604, no report, or of another version.
    """
    return documents.read(
        Path(path), SCHEMA, SCHEMA_VERSION, BadReport, _MOST, "write one with `robspec check --format json`"
    )


def _source(spec: Specification) -> tuple[Source, Path]:
    """A specification's text, and the file that its data globs start beside."""
    if isinstance(spec, Spec):
        return Source(spec.text, "Spec"), Path("Spec")
    if isinstance(spec, str) and ("\n" in spec or "{" in spec):
        return Source(spec, "text"), Path("text")
    return read_source(spec), Path(spec)


def _on(source: Source, statements: tuple[Any, ...], use: str | None) -> Source:
    """A specification on other data."""
    parsed = parse(source)
    if parsed.diagnostics:
        raise SpecError(parsed.diagnostics, source)
    return Source(Spec(*parsed.file.statements).with_data(*statements, use=use).text, source.name)


def _unknown(names: Sequence[str], known: Sequence[str]) -> str:
    """Say what an option is called here, where the command calls it otherwise."""
    other = {"attack_method": "attack_methods", "assume_lipschitz": "assume", "property": "properties"}
    other |= {"strip_prefix": "prefix", "claims": "ignore_claims", "allow": "allow_unknown"}
    meant = [f"; {name} is called {other[name]} here" for name in names if name in other]
    return f"no option {', '.join(names)}{''.join(meant)}; there are {', '.join(known)}"


def _exact(params: Mapping[str, Number] | None) -> dict[str, Fraction]:
    if params is None:
        return {}
    floats = [name for name, value in params.items() if isinstance(value, float)]
    if floats:
        raise TypeError(f"{floats[0]} is a float; pass text such as '0.1', a Decimal or a Fraction, which are exact")
    return {name: Fraction(value) for name, value in params.items()}

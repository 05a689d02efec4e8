"""The front end in one call: text to intermediate representation, or every diagnostic there is."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

from robspec import checks
from robspec.diagnostics import Diagnostic, Source, SpecError
from robspec.diagnostics.diagnostic import in_order
from robspec.ir.types import Program
from robspec.lower.lower import lower
from robspec.lower.overrides import require_known
from robspec.syntax import parse
from robspec.syntax.source import read_source


def compile_source(
    source: Source, overrides: Mapping[str, Fraction] | None = None, *, lint: bool = False
) -> tuple[Program | None, tuple[Diagnostic, ...]]:
    """Parse, check and lower a specification.

    Args:
        source: the text.
        overrides: parameter values that replace declared ones.
        lint: whether to remark what is a matter of style.

    Returns:
        The program, or None when there is an error; and all diagnostics in order, warnings included.

    Raises:
        BadOverride: E0013, an override of an undeclared parameter.
    """
    parsed = parse(source)
    spec = checks.Spec(parsed.file, overrides)
    if not parsed.diagnostics:
        require_known(spec.overrides, spec.params)
    diagnostics = in_order((*parsed.diagnostics, *checks.run(spec, lint=lint)))
    if any(d.is_error for d in diagnostics):
        return None, diagnostics
    return lower(spec), diagnostics


def compile_text(
    text: str, overrides: Mapping[str, Fraction] | None = None
) -> tuple[Program | None, tuple[Diagnostic, ...]]:
    """`compile_source` of a text; diagnostics name no file."""
    return compile_source(Source(text, "<text>"), overrides)


def compile_file(path: Path | str, overrides: Mapping[str, Fraction] | None = None) -> Program:
    """Compile a specification file.

    Args:
        path: the file.
        overrides: parameter values that replace declared ones.

    Returns:
        The program; warnings are dropped (`compile_source` returns them).

    Raises:
        SpecError: the specification has errors; carries all diagnostics.
        SpecFileUnreadable: E0010.
        SpecFileNotText: E0011.
        SpecFileTooLarge: E0012.
        BadOverride: E0013.
    """
    source = read_source(path)
    program, diagnostics = compile_source(source, overrides)
    if program is None:
        raise SpecError(diagnostics, source)
    return program

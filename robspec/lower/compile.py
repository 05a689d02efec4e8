"""The front end in one call: text to intermediate representation, or every diagnostic there is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from robspec import checks
from robspec.checks._report import shown
from robspec.diagnostics import Diagnostic, Source, SpecError
from robspec.diagnostics.diagnostic import in_order
from robspec.ir.types import Program
from robspec.lower.lower import lower
from robspec.lower.overrides import require_data, require_known
from robspec.syntax import parse
from robspec.syntax.source import read_source


def compile_source(
    source: Source,
    overrides: Mapping[str, Fraction] | None = None,
    use: str | None = None,
    *,
    lint: bool = False,
) -> tuple[Program | None, tuple[Diagnostic, ...]]:
    """Parse, check and lower a specification.

    Args:
        source: the text.
        overrides: parameter values that replace declared ones.
        use: the data block that takes the place of what the specification says to `use`; properties that name
            another one themselves are left out.
        lint: whether to remark what is a matter of style.

    Returns:
        The program, or None when there is an error; and all diagnostics in order, warnings included.

    Raises:
        BadOverride: E0013, an override of an undeclared parameter, or a data block that there is not.
    """
    parsed = parse(source)
    spec = checks.Spec(parsed.file, overrides, use)
    if not parsed.diagnostics:
        require_known(spec.overrides, spec.params)
        require_data(use, [d.name.id for d in spec.data_blocks], asked=len(spec.asked))
    found = list(checks.run(spec, lint=lint))
    if spec.overrides and any(d.is_error for d in found):
        without = set(checks.run(checks.Spec(parsed.file, None, use), lint=lint))
        found = [d if d in without else _by_option(d, source, spec.overrides) for d in found]
    diagnostics = in_order((*parsed.diagnostics, *found))
    if any(d.is_error for d in diagnostics):
        return None, diagnostics
    return lower(spec), diagnostics


def _by_option(diagnostic: Diagnostic, source: Source, overrides: Mapping[str, Fraction]) -> Diagnostic:
    """Point at the overrides that make something wrong: those it names, or all where it names others of them."""
    words = set(re.findall(r"\w+", source.text[diagnostic.span.start : diagnostic.span.end]))
    named = [name for name in overrides if name in words] or list(overrides)
    option = " ".join(f"--set {name}={shown(overrides[name])}" for name in named)
    return replace(diagnostic, option=option)


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

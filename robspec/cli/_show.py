"""Diagnostics on the terminal."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from robspec.diagnostics import Diagnostic, Source, render_all
from robspec.notes import Note


def show(diagnostics: Sequence[Diagnostic], source: Source) -> None:
    """Write diagnostics to standard error, in colour on a terminal unless NO_COLOR is set."""
    if diagnostics:
        click.echo(render_all(diagnostics, source, colour=not os.environ.get("NO_COLOR")), err=True)


def warned(spec: Path, source: Source, diagnostics: Iterable[Diagnostic]) -> tuple[Note, ...]:
    """Turn warnings about a specification into notes of a report.

    Args:
        spec: its file.
        source: its text.
        diagnostics: the warnings.
    """
    return tuple(
        Note(
            "specification-warning",
            f"{spec}:{source.line(d.span.start)}",
            f"{d.message} ({d.code})" + (f"; {d.mend}" if d.mend else ""),
            {"code": d.code},
        )
        for d in diagnostics
    )

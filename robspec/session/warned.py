"""Warnings about a specification, as notes of a report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from robspec.diagnostics import Diagnostic, Source
from robspec.notes import Note


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

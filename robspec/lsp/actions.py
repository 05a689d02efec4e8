"""Repairs from the mends of diagnostics: offered only where they compile to fewer complaints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from robspec.diagnostics import Diagnostic, Span
from robspec.lsp.document import Document

_QUOTED = re.compile(r"`([^`\n]{1,200})`")
_MOST = 4


@dataclass(frozen=True, slots=True)
class Repair:
    """One change of the text.

    Args:
        title: what it does.
        span: what is replaced.
        text: by what.
        diagnostic: the complaint that it answers.
    """

    title: str
    span: Span
    text: str
    diagnostic: Diagnostic


def repairs(document: Document, wanted: Span) -> tuple[Repair, ...]:
    """Find changes that answer complaints within a range.

    A mend quotes what could be written. It is tried, in place of what is complained about and of the last name before
    it; a change is offered if that complaint is gone and no other is new, but warnings where an error goes.

    Args:
        document: the specification.
        wanted: complaints that touch it are answered.

    Returns:
        Changes, each tried.
    """
    found: list[Repair] = []
    for diagnostic in document.compiled[1]:
        touches = diagnostic.span.start <= wanted.end and wanted.start <= diagnostic.span.end
        if touches and len(found) < _MOST:
            found += [r for r in _tried(document, diagnostic) if _helps(document, r)]
    return tuple(found[:_MOST])


def _tried(document: Document, diagnostic: Diagnostic) -> Iterator[Repair]:
    said = _QUOTED.findall(diagnostic.mend)[:2]
    for text in said[:1]:
        span = diagnostic.span
        if len(said) == 2 and "did you mean" in diagnostic.mend:
            start = document.text.rfind(said[1], 0, span.start)
            span = Span(start, start + len(said[1])) if start >= 0 else span
        yield Repair(f"replace by {text}", span, text, diagnostic)
        if document.text[span.start : span.end][:1] == '"' or "quote" in diagnostic.mend:
            yield Repair(f'replace by "{text}"', span, f'"{text}"', diagnostic)


def _helps(document: Document, repair: Repair) -> bool:
    text = document.text[: repair.span.start] + repair.text + document.text[repair.span.end :]
    gone = (repair.diagnostic.code, repair.diagnostic.message)
    before = [(d.code, d.message) for d in document.compiled[1]]
    for one in Document(text, document.source.name).compiled[1]:
        # A statement that can be read at last may be warned of; an error has to be there before.
        if (one.code, one.message) in before:
            before.remove((one.code, one.message))
        elif one.is_error or not repair.diagnostic.is_error:
            return False
    return gone in before

"""What a finished check looks like, one output format per file.

Each module is a format, named as `--format` names it; its `render` takes the report, a width in columns and whether
colours may be used. A format whose reports are long has `pieces`, too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from robspec import registry
from robspec.verify.result import CheckReport


def formats() -> list[str]:
    """List the output formats."""
    return registry.names(sys.modules[__name__])


def render(name: str, report: CheckReport, *, width: int = 100, colour: bool = False) -> str:
    """Render a report.

    Args:
        name: one of `formats()`.
        report: the finished check.
        width: columns available, for formats meant for people.
        colour: whether terminal colours may be used.

    Returns:
        The text, ending in a newline.
    """
    return "".join(pieces(name, report, width=width, colour=colour))


def pieces(name: str, report: CheckReport, *, width: int = 100, colour: bool = False) -> Iterator[str]:
    """Render a report piece by piece, for one that is long; see `render`."""
    form = registry.load(sys.modules[__name__], name)
    found = form.pieces(report) if hasattr(form, "pieces") else [form.render(report, width, colour)]
    for text in found:
        # A file's name need not be text; what is not becomes a question mark, so that every report can be written.
        yield text.encode("utf-8", "replace").decode("utf-8")

"""Paragraphs at the width of the terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

_WIDEST = 100
_LABEL = re.compile(r"[A-Z][a-z]+:")


def paragraphs(body: str, width: int) -> str:
    """Fill paragraphs anew; indented lines, which are code, stay as they are.

    Args:
        body: paragraphs between blank lines; a line that begins with a label such as `Mend:` starts one of its own.
        width: columns there are; lines of text are never longer than 100.

    Returns:
        The text, without a newline at its end.
    """
    return "\n".join(_lines(body, min(width, _WIDEST))).rstrip()


def _lines(body: str, width: int) -> Iterator[str]:
    gathered: list[str] = []
    for line in [*body.splitlines(), ""]:
        plain = bool(line) and not line[0].isspace()
        if gathered and (not plain or _LABEL.match(line)):
            yield textwrap.fill(" ".join(gathered), width, break_long_words=False, break_on_hyphens=False)
            gathered = []
        if plain:
            gathered.append(line)
        else:
            yield line

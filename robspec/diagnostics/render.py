"""Diagnostics as text: the line, the carets, the mend; plain or coloured, 80 columns wide."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable

from robspec.diagnostics.diagnostic import Diagnostic, Severity, in_order
from robspec.diagnostics.span import Source

WIDTH = 80
MAX_WORD = 60
MAX_SHOWN = 50
_RED, _YELLOW, _BLUE, _BOLD, _PLAIN = "\x1b[1;31m", "\x1b[1;33m", "\x1b[1;34m", "\x1b[1m", "\x1b[0m"


def visible(text: str) -> str:
    """Replace what would move the cursor, colour the terminal or reorder the line by a visible stand-in."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _columns(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) != 0 for c in text)


def _wrap(label: str, text: str, indent: str) -> str:
    words = (w if len(w) <= MAX_WORD else f"{w[: MAX_WORD - 3]}..." for w in visible(text).split(" "))
    return textwrap.fill(
        " ".join(words),
        WIDTH,
        initial_indent=label,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _excerpt(text: str, first: int, last: int, room: int) -> tuple[str, int, int]:
    """Cut a long line to a window around characters first..last; return it with the moved ends."""
    if len(text) <= room:
        return text, first, last
    start = max(0, min(first - room // 3, len(text) - room + 3))
    window = text[start : start + room - 6]
    lead = "..." if start else ""
    tail = "..." if start + room - 6 < len(text) else ""
    shift = len(lead) - start
    return lead + window + tail, first + shift, min(last + shift, len(lead) + len(window))


def render(diagnostic: Diagnostic, source: Source, *, colour: bool = False) -> str:
    """Write one diagnostic: heading, place, source line with carets, mend, notes.

    Args:
        diagnostic: what to write.
        source: the text its span is about.
        colour: with terminal colours.

    Returns:
        Several lines, without a final newline.
    """

    def paint(style: str, text: str) -> str:
        return f"{style}{text}{_PLAIN}" if colour and text else text

    style = _RED if diagnostic.severity is Severity.ERROR else _YELLOW
    start = min(diagnostic.span.start, len(source.text))
    line = source.line(start)
    whole = source.line_text(line)
    first = min(start - source.line_start(line), len(whole))
    last = max(first + 1, min(diagnostic.span.end - source.line_start(line), len(whole)))
    number = str(line)
    margin = " " * len(number)
    text, first, last = _excerpt(whole, first, last, WIDTH - len(number) - 3)
    text = visible(text)
    carets = " " * _columns(text[:first]) + paint(style, "^" * max(1, _columns(text[first:last])))

    label = f"{diagnostic.severity.value}[{diagnostic.code}]: "
    heading = _wrap(label, diagnostic.message, "  ")
    out = [paint(style, label.rstrip()) + paint(_BOLD, heading[len(label) - 1 :])]
    arrow = "-->"
    if diagnostic.option:
        out.append(f"{margin}{paint(_BLUE, arrow)} {visible(diagnostic.option)}")
        arrow = ":::"
    out.append(f"{margin}{paint(_BLUE, arrow)} {visible(source.name)}:{line}:{source.column(start)}")
    out.append(f"{margin} {paint(_BLUE, '|')}")
    out.append(f"{paint(_BLUE, number + ' |')} {text}".rstrip())
    out.append(f"{margin} {paint(_BLUE, '|')} {carets}")
    if diagnostic.mend:
        out.append(_wrap("  mend: ", diagnostic.mend, "        "))
    out.extend(_wrap("  note: ", note, "        ") for note in diagnostic.notes)
    return "\n".join(out)


def render_all(diagnostics: Iterable[Diagnostic], source: Source, *, colour: bool = False) -> str:
    """Write diagnostics in the order of their places, and a line that counts them."""
    ordered = in_order(diagnostics)
    parts = [render(d, source, colour=colour) for d in ordered[:MAX_SHOWN]]
    if len(ordered) > MAX_SHOWN:
        parts.append(f"... and {len(ordered) - MAX_SHOWN} more")
    parts.append(_tally(ordered))
    return "\n\n".join(parts)


def _tally(ordered: tuple[Diagnostic, ...]) -> str:
    errors = sum(d.is_error for d in ordered)
    counts = [(errors, "error"), (len(ordered) - errors, "warning")]
    words = [f"{n} {word}{'s' if n != 1 else ''}" for n, word in counts if n]
    first = next((d.code for d in ordered if d.is_error), ordered[0].code if ordered else "")
    more = f"; `robspec explain {first}` says more" if first else ""
    return (", ".join(words) or "no errors") + more

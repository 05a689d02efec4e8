"""File patterns with named parts: `leftImg8bit/val/{city}/{stem}_leftImg8bit.png`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["text", "part", "star", "one", "deep"]
_TOKEN = re.compile(
    r"(?P<part>\{[A-Za-z_][A-Za-z0-9_]*\})|(?P<deep>(?:(?<=/)|^)\*\*/)|(?P<star>\*+)|(?P<one>\?|\[!?\]?[^\]/]*\])"
)
MOST_PARTS = 8
SPANS = "stem"
"""The part that may reach into folders below, where the pattern has no `**`."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One piece of a pattern.

    Args:
        kind: "text" as it stands; "part" a named part; "star" any text without a slash; "one" a character, as in a
            glob; "deep" any number of folders.
        text: as written; of a part, its name.
    """

    kind: Kind
    text: str


def is_named(pattern: str) -> bool:
    """Whether a pattern is more than a glob: it has braces that are not in brackets."""
    return any(
        piece.kind == "part" or (piece.kind == "text" and ("{" in piece.text or "}" in piece.text))
        for piece in _pieces(pattern)
    )


def parts(pattern: str) -> tuple[str, ...]:
    """The names of a pattern's parts, in order."""
    return tuple(piece.text for piece in _pieces(pattern) if piece.kind == "part")


def pieces(pattern: str) -> tuple[Piece, ...]:
    """Take a pattern apart; `problem` says whether it is sound."""
    return tuple(_pieces(pattern))


def problem(pattern: str) -> tuple[str, str] | None:
    """Say what is wrong with a pattern's named parts.

    Args:
        pattern: as written.

    Returns:
        What is wrong and how to mend it; None where nothing is, as for every glob without braces.
    """
    found = _pieces(pattern)
    names = [piece.text for piece in found if piece.kind == "part"]
    for piece in found:
        if piece.kind == "text" and ("{" in piece.text or "}" in piece.text):
            mend = "write a name in braces, such as {stem}; for a brace in a file's name, [{] or [}]"
            return f"{pattern!r} has a brace that belongs to no named part", mend
    if len(names) > MOST_PARTS:
        return f"{pattern!r} has {len(names)} named parts", f"name at most {MOST_PARTS}"
    repeated = next((n for n in names if names.count(n) > 1), None)
    if repeated is not None:
        return f"{pattern!r} has {{{repeated}}} twice", "name it once, and write * for the other"
    for before, after in pairwise(found):
        loose = {before.kind, after.kind}
        if "part" in loose and loose <= {"part", "star"}:
            mend = "put the text between them that tells where one ends, or leave one out"
            return f"in {pattern!r} nothing separates {_shown(before)} from {_shown(after)}", mend
    return None


def spans_folders(pattern: str) -> bool:
    """Whether the part called stem may match several folders deep."""
    return not any(piece.kind == "deep" for piece in _pieces(pattern))


def _shown(piece: Piece) -> str:
    return f"{{{piece.text}}}" if piece.kind == "part" else piece.text


def _pieces(pattern: str) -> list[Piece]:
    found: list[Piece] = []
    at = 0
    for match in _TOKEN.finditer(pattern):
        if match.start() > at:
            found.append(Piece("text", pattern[at : match.start()]))
        kind: Kind = match.lastgroup  # type: ignore[assignment]
        text = match[0]
        found.append(Piece(kind, text[1:-1] if kind == "part" else text))
        at = match.end()
    if at < len(pattern):
        found.append(Piece("text", pattern[at:]))
    return found

"""Which files a pattern with named parts matches, and what its parts are in each."""

from __future__ import annotations

import fnmatch
import glob
from collections.abc import Iterator
from pathlib import Path, PurePath

from robspec.data.errors import AmbiguousName, FileTooLarge
from robspec.syntax.patterns import SPANS, Piece, pieces, spans_folders

_LONGEST = 1024
MOST_FILES = 2_000_000


def listed(root: Path, pattern: str) -> Iterator[str]:
    """List the paths that a glob, or a pattern with its parts left open, may match.

    Args:
        root: the folder the pattern is relative to.
        pattern: a glob, perhaps with named parts.

    Returns:
        Paths relative to `root`, with forward slashes, each once.

    Raises:
        FileTooLarge: E0308, more than two million.
    """
    seen: set[str] = set()
    for plain in _globs(pattern):
        for name in glob.iglob(plain, root_dir=root, recursive=True):
            seen.add(PurePath(name).as_posix())
            if len(seen) > MOST_FILES:
                raise FileTooLarge(str(root), f"{pattern!r} matches more than {MOST_FILES} files", "narrow it")
    yield from sorted(seen)


def parts_of(name: str, pattern: str) -> tuple[tuple[str, str], ...] | None:
    """Read the named parts off a path.

    Args:
        name: a path relative to the data's folder.
        pattern: with named parts, sound.

    Returns:
        Part and text, by the part's name; None where the pattern does not match.

    Raises:
        AmbiguousName: E0330, a part can be read in two ways.
    """
    if len(name) > _LONGEST:
        return None
    found = pieces(pattern)
    spans = spans_folders(pattern)
    forward = [{0}]
    for piece in found:
        forward.append({q for p in forward[-1] for q in _ends(name, p, piece, spans=spans)})
    # From behind: only what leads to the end of the name counts.
    alive = {len(name)} & forward[-1]
    if not alive:
        return None
    values: dict[str, str] = {}
    for k in reversed(range(len(found))):
        steps = [(p, q) for p in forward[k] for q in _ends(name, p, found[k], spans=spans) if q in alive]
        if found[k].kind == "part":
            texts = sorted({name[p:q] for p, q in steps})
            if len(texts) > 1:
                raise AmbiguousName(
                    name,
                    f"in {pattern!r} the part {{{found[k].text}}} can be {texts[0]!r} as well as {texts[1]!r}",
                    "write more of the path out, or put * where nothing is paired",
                )
            values[found[k].text] = texts[0]
        alive = {p for p, _ in steps}
    return tuple(sorted(values.items()))


def _ends(name: str, start: int, piece: Piece, *, spans: bool) -> Iterator[int]:
    """Where a piece that begins at a place of a name may end."""
    if piece.kind == "text":
        if name.startswith(piece.text, start):
            yield start + len(piece.text)
        return
    if piece.kind == "one":
        if start < len(name) and name[start] != "/" and fnmatch.fnmatchcase(name[start], piece.text):
            yield start + 1
        return
    if piece.kind == "deep":
        yield start
        yield from (k + 1 for k in range(start, len(name)) if name[k] == "/")
        return
    if piece.kind == "star":
        yield start
    over = piece.kind == "part" and piece.text == SPANS and spans
    for k in range(start, len(name)):
        if name[k] == "/" and (not over or k == start):
            return
        if name[k] != "/":
            yield k + 1


def _globs(pattern: str) -> list[str]:
    """Globs that match at least what a pattern does."""
    found = pieces(pattern)
    plain = "".join("*" if piece.kind == "part" else piece.text for piece in found)
    if not any(piece.kind == "part" and piece.text == SPANS for piece in found) or not spans_folders(pattern):
        return [plain]
    deeper = {piece: "*/**/*" if piece.text == SPANS else "*" for piece in found if piece.kind == "part"}
    return [plain, "".join(deeper.get(piece, piece.text) for piece in found)]

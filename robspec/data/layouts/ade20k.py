"""ADE20K, the scene parsing benchmark of 150 classes.

Source: Zhou et al., CVPR 2017; sceneparsing.csail.mit.edu, README of ADEChallengeData2016: masks hold 0 for what is
not annotated and 1 to 150 in the order of objectInfo150.txt, a table with tabs whose last column has the names.
"""

from __future__ import annotations

from pathlib import Path

from robspec.data import reading
from robspec.data.errors import LayoutMismatch
from robspec.data.layouts._layout import Found, Layout, Published, by_patterns

_TABLE = "objectInfo150.txt"


def _find(folder: Path, split: str) -> Found:
    masks = f"annotations/{split}/{{stem}}.png"
    pairs = by_patterns(folder, f"images/{split}/{{stem}}.jpg", masks, LAYOUT.title)
    return Found(pairs, _names(folder), ((_TABLE, folder / _TABLE),))


def _names(folder: Path) -> Published:
    """A name is the first of its synonyms; one that came before gets its number."""
    if not (folder / _TABLE).is_file():
        raise LayoutMismatch(str(folder), f"ADE20K: there is no file {_TABLE}", "unpack ADEChallengeData2016 whole")
    lines = reading.file_bytes(folder / _TABLE, _TABLE).decode("utf-8", errors="replace").splitlines()
    rows = [line.split("\t") for line in lines if line.strip()]
    found: list[tuple[int, str | None]] = [(0, None)]
    for row in rows[1:]:
        if len(row) < 2 or not row[0].strip().isdecimal() or int(row[0]) != len(found):
            raise LayoutMismatch(_TABLE, f"its line {len(found) + 1} is not that of class {len(found)}", "restore it")
        name = row[-1].split(",")[0].strip()
        taken = any(name == other for _, other in found)
        found.append((len(found), f"{name} {len(found)}" if taken else name))
    return tuple(found)


LAYOUT = Layout(
    "ade20k",
    "ADE20K",
    "sceneparsing.csail.mit.edu",
    "images, annotations and objectInfo150.txt (ADEChallengeData2016)",
    ("training", "validation"),
    _find,
    "`images/SPLIT/{stem}.jpg`, `annotations/SPLIT/{stem}.png`, names in `objectInfo150.txt`",
    "objectInfo150.txt",
)

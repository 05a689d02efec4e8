"""Small tables in CSV files, read distrustfully: labels of whole images, and pairs of images and masks."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from robspec.data import reading
from robspec.data.errors import (
    BadPairTable,
    DuplicateStem,
    EmptyDataSet,
    PathOutside,
    UnreadableFile,
    UnsupportedFile,
)
from robspec.data.pairing import SUFFIXES, Pair
from robspec.errors import RobspecError

COLUMNS = ("image", "mask")
_SHOWN = 10


def rows(
    blob: bytes, name: str, columns: Sequence[str], refused: type[RobspecError]
) -> list[tuple[int, tuple[str, ...]]]:
    """Read some columns of a CSV file in UTF-8.

    Args:
        blob: the file's bytes.
        name: what messages call it.
        columns: names its first line must have once each; others are passed over.
        refused: the error of a file that is no such table.

    Returns:
        The number of each line that holds anything, and its cells in the order of `columns`.
    """
    try:
        reader = csv.reader(io.StringIO(blob.decode("utf-8-sig"), newline=""), strict=True)
        lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise refused(name, f"it is no CSV file in UTF-8: {error}", "save it as CSV, in UTF-8") from error
    head = [cell.lower() for cell in lines[0][1]] if lines else []
    if any(head.count(column) != 1 for column in columns):
        shown = ", ".join(head[:_SHOWN]) or "nothing"
        raise refused(
            name,
            f"its first line names the columns {shown}, not one {' and one '.join(f'`{c}`' for c in columns)}",
            f"give it a first line `{','.join(columns)}`",
        )
    places = [head.index(column) for column in columns]
    found = []
    for line, row in lines[1:]:
        if len(row) != len(head):
            raise refused(
                f"{name}, line {line}",
                f"{len(row)} cells in a table of {len(head)} columns",
                "give every row one cell for each column",
            )
        found.append((line, tuple(row[k] for k in places)))
    return found


def pairs(root: Path, name: str) -> tuple[Pair, ...]:
    """Read which mask belongs to which image.

    Args:
        root: the folder the table's path is relative to.
        name: that path; the paths in the table start from the table's folder, and stay in it.

    Returns:
        Pairs sorted by image name.

    Raises:
        BadPairTable: E0331, no such columns.
        PathOutside: E0332, a path leads out of the table's folder.
        EmptyDataSet: E0301, no rows.
        DuplicateStem: E0303, one image in two rows.
        UnreadableFile: E0305, the table, or a file it names, cannot be opened.
        UnsupportedFile: E0311, a file of an unknown suffix.
    """
    folder = PurePosixPath(name.replace("\\", "/")).parent
    seen: dict[str, int] = {}
    found: list[Pair] = []
    for line, cells in rows(reading.file_bytes(root / name, name), name, COLUMNS, BadPairTable):
        where = f"{name}, line {line}"
        image, mask = ((folder / inside(cell, where)).as_posix() for cell in cells)
        if image in seen:
            what = f"{image} is in line {seen[image]} as well"
            raise DuplicateStem(where, what, "keep one row for each image")
        seen[image] = line
        for path in (image, mask):
            if PurePosixPath(path).suffix.lower() not in SUFFIXES:
                raise UnsupportedFile(where, f"{path} is no kind of image file that is read", "convert the file")
            if not (root / path).is_file():
                raise UnreadableFile(where, f"there is no file {path}", f"paths start from the folder of {name}")
        found.append(Pair(image, str(root), mask))
    if not found:
        raise EmptyDataSet(name, "the table has no rows", "give it one row for each image")
    return tuple(sorted(found, key=lambda p: p.name))


def inside(path: str, where: str) -> PurePosixPath:
    """Take a path that a file gives, which must not lead out of its folder.

    Raises:
        PathOutside: E0332.
    """
    plain = PurePosixPath(path.replace("\\", "/"))
    drive = len(path) > 1 and path[1] == ":"
    if not path or "\0" in path or plain.is_absolute() or drive or ".." in plain.parts:
        raise PathOutside(
            where, f"the path {path[:80]!r} leads out of the file's folder", "give paths from that folder on"
        )
    return plain

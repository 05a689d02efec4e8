"""What a layout is, and what most of them do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from robspec.data import pairing, reading, tables
from robspec.data.errors import EmptyDataSet, LayoutMismatch, MissingMask
from robspec.data.pairing import Pair
from robspec.notes import Note

Published: TypeAlias = tuple[tuple[int, str | None], ...]
"""The numbers in masks and what they are called; None for pixels without an annotation."""
_MOST_LINES = 2_000_000


@dataclass(frozen=True, slots=True)
class Found:
    """What lies on disk.

    Args:
        pairs: images and masks, named as seen from the layout's folder, sorted by image.
        published: what the numbers in masks are called.
        tables: further files that were read, named as seen from the layout's folder.
        noted: what the report should say of how masks are read.
    """

    pairs: tuple[Pair, ...]
    published: Published
    tables: tuple[tuple[str, Path], ...] = ()
    noted: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """One published data set.

    Args:
        name: as specifications write it.
        title: as its publishers write it.
        source: where the layout is published.
        holds: what the folder that is named must hold, for messages.
        splits: the parts there are; empty where there are none, or where they are named by the files.
        find: reads a folder and a split.
        any_split: an example of a split, where the files name them.
        files: the patterns of the files, for the documentation.
        signs: a path below the folder that tells this layout from the others.
    """

    name: str
    title: str
    source: str
    holds: str
    splits: tuple[str, ...]
    find: Callable[[Path, str], Found]
    files: str
    signs: str
    any_split: str = ""


def plain(name: str) -> str:
    """A class name without what only spelling adds: capitals, `-` and `_`."""
    return " ".join(name.lower().replace("-", " ").replace("_", " ").split())


def numbered(*names: str | None, start: int = 0) -> Published:
    """Names in the order of their numbers; None for pixels without an annotation."""
    return tuple((start + k, name) for k, name in enumerate(names))


def by_patterns(folder: Path, images: str, masks: str, layout: str) -> tuple[Pair, ...]:
    """Pair files by named parts; what is missing is a matter of the layout.

    Raises:
        LayoutMismatch: E0335, no such files.
        RobspecError: as `pairing.pair`.
    """
    try:
        return pairing.pair(folder, images, masks)
    except EmptyDataSet as empty:
        raise LayoutMismatch(
            str(folder), f"{layout}: {empty.what}", "name the folder the archive unpacks to, or check the split"
        ) from None


def stems_of(folder: Path, name: str, layout: str) -> list[str]:
    """Read a list of one image a line, its first word.

    Raises:
        LayoutMismatch: E0335, no such list, or it is empty.
        PathOutside: E0332, a line leads out of the folder.
    """
    path = folder / name
    if not path.is_file():
        raise LayoutMismatch(str(folder), f"{layout}: there is no file {name}", "check the folder and the split")
    lines = reading.file_bytes(path, name).decode("utf-8-sig", errors="replace").splitlines()
    found = [line.split()[0] for line in lines[:_MOST_LINES] if line.strip()]
    if not found:
        raise LayoutMismatch(name, f"{layout}: the list is empty", "restore the file")
    return [tables.inside(stem, name).as_posix() for stem in found]


def listed(folder: Path, stems: Sequence[str], images: str, masks: str, where: str) -> tuple[Pair, ...]:
    """Pair the files of a list.

    Args:
        folder: of the data set.
        stems: what the list names, each once.
        images: the path of an image, with `{stem}` in it.
        masks: the same of a mask.
        where: the list, for messages.

    Raises:
        MissingMask: E0302, a file that the list names is not there.
    """
    found, root = [], str(folder)
    for stem in sorted(set(stems)):
        image, mask = images.replace("{stem}", stem), masks.replace("{stem}", stem)
        for path in (image, mask):
            if not (folder / path).is_file():
                raise MissingMask(where, f"it names {stem}, and there is no file {path}", "unpack the whole data set")
        found.append(Pair(image, root, mask))
    return tuple(found)


def only_folder(folder: Path, *names: str) -> str:
    """The first of several names that is a folder; "" for none."""
    return next((name for name in names if (folder / name).is_dir()), "")


def stem(path: str) -> str:
    """The name of a file without folder and suffix."""
    return PurePosixPath(path).stem

"""Which files a data set consists of: globs, suffixes, stems."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from robspec.data import patterns
from robspec.data.errors import DuplicateStem, EmptyDataSet, MissingMask, UnreadableFile, UnsupportedFile
from robspec.syntax.patterns import is_named

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".webp", ".npy", ".npz"})
Key: TypeAlias = str | tuple[tuple[str, str], ...]
"""A stem, or the named parts of a path."""
_SHOWN = 10
_NOUNS = {"masks": "mask", "region": "region file", "weights": "weight file", "objects": "file of objects"}
_OBJECTS = frozenset({".txt", ".xml"})


class Drawn(Protocol):
    """A mask that is not a file of its own, such as one of polygons in a table."""

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width."""
        ...

    def values(self) -> npt.NDArray[np.integer]:
        """Draw it: integers [H, W]."""
        ...

    def digest(self) -> bytes:
        """Hash all that it is drawn from."""
        ...


@dataclass(frozen=True, slots=True)
class Pair:
    """One image and its mask, region file or weight file; a `Path` for each would take ten times as much memory.

    Args:
        name: the image's path as the glob matched it, with forward slashes.
        root: the folder that this and the other path start from.
        mask_name: path of the other file as the glob matched it; empty when the data set declares none.
        noun: what messages call it.
        drawn: the mask, where it is not a file.
    """

    name: str
    root: str
    mask_name: str = ""
    noun: str = "mask"
    drawn: Drawn | None = None

    @property
    def image(self) -> Path:
        """Where to read the image."""
        return Path(self.root, self.name)

    @property
    def mask(self) -> Path | None:
        """Where to read the other file, or None."""
        return Path(self.root, self.mask_name) if self.mask_name and self.drawn is None else None


def pair(root: Path, images: str, masks: str, statement: str = "masks", *, unique: bool = True) -> tuple[Pair, ...]:
    """Match the patterns and pair images with masks, region files or weight files: by named parts, else by stem.

    Args:
        root: the folder both patterns are relative to.
        images: pattern of image files.
        masks: pattern of the other files; empty for none.
        statement: of the language that gives it: "masks", "region", "weights" or "objects".
        unique: whether images without other files must have different stems.

    Returns:
        Pairs sorted by image name.

    Raises:
        EmptyDataSet: E0301, no image, or the other files declared and none found.
        MissingMask: E0302.
        DuplicateStem: E0303.
        UnreadableFile: E0305, a match is a dangling link or a folder named like an image.
        UnsupportedFile: E0311, a matched file has an unknown suffix.
        AmbiguousName: E0330, a path can be read in two ways.
    """
    found, folder = _match(root, images, "images"), str(root)
    if not masks:
        if unique:
            _by_key(found, images)
        return tuple(Pair(name, folder) for name in found)
    noun = _NOUNS[statement]
    by_key = _by_key(_match(root, masks, statement), masks)
    keys = _by_key(found, images)
    orphans = [name for key, name in keys.items() if key not in by_key]
    if orphans:
        shown = ", ".join(orphans[:_SHOWN])
        more = f" and {len(orphans) - _SHOWN} more" if len(orphans) > _SHOWN else ""
        raise MissingMask(
            orphans[0],
            f"{len(orphans)} of {len(found)} images have no {noun} under {masks!r}: {shown}{more}",
            f"add the {noun}s, or narrow the image glob",
        )
    return tuple(Pair(name, folder, by_key[key], noun) for key, name in keys.items())


def _match(root: Path, pattern: str, what: str) -> list[str]:
    named = is_named(pattern)
    names = [
        name
        for name in patterns.listed(root, pattern)
        if not _passed_over(root / name) and (not named or patterns.parts_of(name, pattern) is not None)
    ]
    broken = [name for name in names if not (root / name).is_file()]
    if broken:
        raise UnreadableFile(
            broken[0],
            f"{len(broken)} of {len(names)} entries matched by {what} {pattern!r} are no files that can be opened",
            "restore what the links point to, rename the folders, or narrow the glob",
        )
    if not names:
        raise EmptyDataSet(
            str(root),
            f"no file matches {what} {pattern!r}",
            "correct the glob, or give its folder with --data",
        )
    known, kinds = SUFFIXES, "PNG, JPEG, GIF, TIFF, WebP, .npy nor .npz"
    if what == "objects":
        known, kinds = _OBJECTS, ".txt nor .xml"
    other = [name for name in names if PurePath(name).suffix.lower() not in known]
    if other:
        raise UnsupportedFile(
            other[0],
            f"{len(other)} files matched by {what} {pattern!r} are neither {kinds}",
            "narrow the glob, or convert the files",
        )
    return names


def _passed_over(path: Path) -> bool:
    """Tell whether a match is a folder on the way to files, as `**` gives; one named like an image is not."""
    return path.is_dir() and path.suffix.lower() not in SUFFIXES


def _by_key(names: list[str], pattern: str) -> dict[Key, str]:
    """The files by what pairs them: their stems, or the named parts of the pattern."""
    named = is_named(pattern)
    keys: dict[Key, str] = {}
    for name in names:
        key: Key | None = patterns.parts_of(name, pattern) if named else PurePath(name).stem
        if key is None:
            raise ValueError("a path that its pattern does not match")
        if key in keys:
            shown = f"the stem {key!r}" if isinstance(key, str) else ", ".join(f"{k} {v!r}" for k, v in key)
            raise DuplicateStem(
                name,
                f"{keys[key]} and {name}, both matched by {pattern!r}, have {shown}",
                "rename one of them, or narrow the pattern"
                if named
                else "name the folder in the patterns, as {folder}/{stem}.png; or rename one of them",
            )
        keys[key] = name
    return keys

"""Which files a data set consists of: globs, suffixes, stems."""

from __future__ import annotations

import glob
from dataclasses import dataclass
from pathlib import Path, PurePath

from robspec.data.errors import DuplicateStem, EmptyDataSet, MissingMask, UnreadableFile, UnsupportedFile

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".npy", ".npz"})
_SHOWN = 10
_NOUNS = {"masks": "mask", "region": "region file", "weights": "weight file", "objects": "file of objects"}
_OBJECTS = frozenset({".txt", ".xml"})


@dataclass(frozen=True, slots=True)
class Pair:
    """One image and its mask, region file or weight file.

    Args:
        name: the image's path as the glob matched it, with forward slashes.
        image: where to read the image.
        mask: where to read the other file, or None when the data set declares none.
        mask_name: its path as the glob matched it; empty for none.
        noun: what messages call it.
    """

    name: str
    image: Path
    mask: Path | None = None
    mask_name: str = ""
    noun: str = "mask"


def pair(root: Path, images: str, masks: str, statement: str = "masks", *, unique: bool = True) -> tuple[Pair, ...]:
    """Match the globs and pair images with masks, region files or weight files by stem.

    Args:
        root: the folder both globs are relative to.
        images: glob of image files.
        masks: glob of the other files; empty for none.
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
    """
    found = _match(root, images, "images")
    if not masks:
        if unique:
            _by_stem(found, images)
        return tuple(Pair(name, root / name) for name in found)
    noun = _NOUNS[statement]
    by_stem = _by_stem(_match(root, masks, statement), masks)
    stems = _by_stem(found, images)
    orphans = [name for stem, name in stems.items() if stem not in by_stem]
    if orphans:
        shown = ", ".join(orphans[:_SHOWN])
        more = f" and {len(orphans) - _SHOWN} more" if len(orphans) > _SHOWN else ""
        raise MissingMask(
            orphans[0],
            f"{len(orphans)} of {len(found)} images have no {noun} under {masks!r}: {shown}{more}",
            f"add the {noun}s, or narrow the image glob",
        )
    return tuple(Pair(name, root / name, root / by_stem[stem], by_stem[stem], noun) for stem, name in stems.items())


def _match(root: Path, pattern: str, what: str) -> list[str]:
    matched = glob.glob(pattern, root_dir=root, recursive=True)
    names = sorted(PurePath(name).as_posix() for name in matched if not _passed_over(root / name))
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
    known, kinds = (_OBJECTS, ".txt nor .xml") if what == "objects" else (SUFFIXES, "PNG, JPEG, .npy nor .npz")
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


def _by_stem(names: list[str], pattern: str) -> dict[str, str]:
    stems: dict[str, str] = {}
    for name in names:
        stem = PurePath(name).stem
        if stem in stems:
            raise DuplicateStem(
                name,
                f"{stems[stem]} and {name}, both matched by {pattern!r}, have the stem {stem!r}",
                "rename one of them, or narrow the glob",
            )
        stems[stem] = name
    return stems

"""What a folder of images is: a published layout, or images with masks beside them."""

from __future__ import annotations

import glob
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from robspec.data import layouts
from robspec.data.layouts._layout import Found, Layout
from robspec.data.pairing import SUFFIXES
from robspec.errors import RobspecError
from robspec.ir.types import Data

_IMAGES = ("images", "image", "imgs", "img", "Images", "JPEGImages", "input", "inputs")
_MASKS = ("masks", "mask", "labels", "gt", "Masks", "annotations", "segmentation", "groundtruth", "SegmentationClass")
_SPLITS = ("val", "validation", "test", "valid", "")
_MOST_NAMES = 20_000


@dataclass(frozen=True, slots=True)
class Published:
    """A layout that a folder has."""

    layout: Layout
    split: str
    found: Found


@dataclass(frozen=True, slots=True)
class Folders:
    """Images, and perhaps masks, by patterns relative to the folder."""

    images: str
    masks: str = ""


def published(folder: Path) -> Published | None:
    """The first layout whose files lie in a folder, with a split of images not trained on where there is one."""
    for name in layouts.names():
        layout = layouts.get(name)
        if next(folder.glob(layout.signs), None) is None:
            continue
        for split in _splits(folder, layout):
            data = Data(name, "", layout=name, root=".", split=split)
            try:
                return Published(layout, split, layouts.find(data, folder))
            except RobspecError:
                continue
    return None


def _splits(folder: Path, layout: Layout) -> Iterable[str]:
    if layout.any_split:
        stem = Path(layout.signs).name.partition("*")[0]
        found = [p.stem.removeprefix(stem if "/" in layout.signs else "") for p in sorted(folder.glob(layout.signs))]
        return sorted(found, key=lambda s: "train" in s.lower())
    return sorted(layout.splits, key=lambda s: s.startswith("train")) or ("",)


def folders(folder: Path) -> Folders | None:
    """Images in a folder of a usual name, or in the folder itself; masks where one image has a mask of its stem."""
    for split in _SPLITS:
        for images in (*_IMAGES, ""):
            for inner in {f"{split}/{images}", f"{images}/{split}"}:
                place = "/".join(part for part in inner.split("/") if part)
                names = _files(folder / place)
                if not names:
                    continue
                masks = next(filter(None, (_masks(folder, place, images, m, names) for m in _MASKS)), None)
                return masks or Folders(_pattern(place, "*" + _suffix(names)))
    return None


def _masks(folder: Path, place: str, images: str, masks: str, names: list[str]) -> Folders | None:
    beside = "/".join(masks if part == images and images else part for part in place.split("/"))
    if not images or beside == place or not (folder / beside).is_dir():
        return None
    others = _files(folder / beside)
    stem = Path(names[0]).stem
    ends = sorted({Path(o).stem.removeprefix(stem) for o in others if Path(o).stem.startswith(stem)}, key=len)
    if not ends:
        return None
    if ends[0] == "":
        return Folders(_pattern(place, "*" + _suffix(names)), _pattern(beside, "*" + _suffix(others)))
    end = glob.escape(ends[0])
    return Folders(_pattern(place, "{stem}" + _suffix(names)), _pattern(beside, "{stem}" + end + _suffix(others)))


def _files(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    found = []
    for path in folder.iterdir():
        if path.suffix.lower() in SUFFIXES and path.is_file():
            found.append(path.name)
        if len(found) >= _MOST_NAMES:
            break
    return sorted(found)


def _suffix(names: list[str]) -> str:
    """The suffix that all files have; any where they differ."""
    found = {Path(name).suffix for name in names}
    return found.pop() if len(found) == 1 else ".*"


def _pattern(place: str, name: str) -> str:
    return f"{escaped(place)}/{name}" if place else name


def escaped(path: str) -> str:
    """A path as a pattern that matches nothing else."""
    return "".join(f"[{c}]" if c in "*?[{}" else c for c in path)

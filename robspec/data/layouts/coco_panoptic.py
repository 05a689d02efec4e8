"""COCO, panoptic: every pixel has one segment, of 133 classes of things and stuff.

Source: Kirillov et al., CVPR 2019; cocodataset.org/#format-data, section 4: a PNG for each image, whose colours
number the segments, red + 256 green + 65536 blue, and `segments_info`, which gives each its category; 0 is
unlabelled.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from robspec.data import raster, reading, tables
from robspec.data.errors import LayoutMismatch, MissingMask
from robspec.data.layouts import _coco
from robspec.data.layouts._layout import Found, Layout, only_folder
from robspec.data.pairing import Pair


@dataclass(frozen=True, slots=True)
class Segments:
    """The segments of one image.

    Args:
        path: the PNG.
        name: what messages call it.
        sides: height and width.
        categories: of each segment.
    """

    path: Path
    name: str
    sides: tuple[int, int]
    categories: tuple[tuple[int, int], ...]

    def values(self) -> npt.NDArray[np.integer]:
        """The category of each pixel, or VOID."""
        colours = raster.colours(reading.file_bytes(self.path, self.name), self.name)
        segments = colours >> 16 | colours & 0xFF00 | (colours & 0xFF) << 16
        categories = {0: _coco.VOID, **dict(self.categories)}
        values, places = np.unique(segments, return_inverse=True)
        unknown = [int(v) for v in values if int(v) not in categories]
        if unknown:
            raise LayoutMismatch(self.name, f"segment {unknown[0]} has no category", "restore the annotations")
        table = np.array([categories[int(v)] for v in values], np.int64)
        found: npt.NDArray[np.integer] = table[places].reshape(segments.shape)
        return found

    def digest(self) -> bytes:
        """Of the file and the categories."""
        blob = reading.file_bytes(self.path, self.name)
        return hashlib.sha256(hashlib.sha256(blob).digest() + json.dumps(self.categories).encode()).digest()


def _find(folder: Path, split: str) -> Found:
    name = f"annotations/panoptic_{split}.json"
    described = _coco.load(folder / name, name)
    published = _coco.published(described, name)
    known = {value for value, _ in published}
    images = {_coco.whole(e.get("id"), name, 0): e for e in described["images"]}
    below = only_folder(folder, f"images/{split}", split) or split
    pairs = []
    for entry in described["annotations"]:
        image = images.get(_coco.whole(entry.get("image_id"), name, 0))
        if image is None:
            raise LayoutMismatch(name, "an annotation belongs to no image", "restore the file")
        path = f"{below}/{tables.inside(str(image.get('file_name', '')), name).as_posix()}"
        mask = f"annotations/panoptic_{split}/{tables.inside(str(entry.get('file_name', '')), name).as_posix()}"
        for file in (path, mask):
            if not (folder / file).is_file():
                raise MissingMask(name, f"it names {file}, and there is no such file", "unpack the whole split")
        drawn = _segments(folder / mask, mask, entry.get("segments_info"), known)
        pairs.append(Pair(path, str(folder), mask, drawn=drawn))
    if not pairs:
        raise LayoutMismatch(name, "it annotates no image", "check the split")
    found = tuple(sorted(pairs, key=lambda p: p.name))
    return Found(found, (*published, (_coco.VOID, None)), ((name, folder / name),))


def _segments(path: Path, name: str, described: object, known: set[int]) -> Segments:
    if not isinstance(described, list) or not all(isinstance(s, dict) for s in described):
        raise LayoutMismatch(name, "an annotation has no segments", "restore the file")
    categories = [(_coco.whole(s.get("id"), name), _coco.whole(s.get("category_id"), name, 0)) for s in described]
    if len(dict(categories)) < len(categories) or any(c not in known for _, c in categories):
        raise LayoutMismatch(name, "its segments repeat, or have no known category", "restore the file")
    with path.open("rb") as file:
        head = raster.header(file, name)
    return Segments(path, name, head.sides, tuple(categories))


LAYOUT = Layout(
    "coco_panoptic",
    "COCO panoptic",
    "cocodataset.org/#format-data",
    "the split's images and annotations",
    (),
    _find,
    "`SPLIT/` (or `images/SPLIT/`), `annotations/panoptic_SPLIT.json` and `annotations/panoptic_SPLIT/`",
    "annotations/panoptic_*.json",
    any_split="val2017",
)

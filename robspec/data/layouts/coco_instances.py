"""COCO, instances: objects of 80 classes, each with polygons or run lengths.

Source: Lin et al., ECCV 2014; cocodataset.org/#format-data, sections 1 and 2. A pixel has the class of the objects
on it; one on which objects of several classes lie is ignored, as in torchvision's
references/segmentation/coco_utils.py; one without objects is background, number 0.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from robspec.data import tables
from robspec.data.errors import LayoutMismatch, MissingMask
from robspec.data.layouts import _coco
from robspec.data.layouts._layout import Found, Layout, only_folder
from robspec.data.pairing import Pair


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects of one image.

    Args:
        sides: height and width.
        objects: the category and the segmentation of each.
        name: the annotation file, for messages.
    """

    sides: tuple[int, int]
    objects: tuple[tuple[int, Any], ...]
    name: str

    def values(self) -> npt.NDArray[np.integer]:
        """A category, 0 for none, or VOID for several."""
        found = np.zeros(self.sides, np.int64)
        for category, segmentation in self.objects:
            inside = _coco.region(segmentation, *self.sides, self.name)
            found[inside & (found != 0) & (found != category)] = _coco.VOID
            found[inside & (found == 0)] = category
        return found

    def digest(self) -> bytes:
        """Of sizes, categories and segmentations."""
        return hashlib.sha256(json.dumps([self.sides, self.objects]).encode()).digest()


def _find(folder: Path, split: str) -> Found:
    name = f"annotations/instances_{split}.json"
    described = _coco.load(folder / name, name)
    published = _coco.published(described, name)
    known = {value for value, _ in published}
    objects: dict[int, list[tuple[int, Any]]] = {}
    for entry in described["annotations"]:
        category = _coco.whole(entry.get("category_id"), name)
        if category not in known:
            raise LayoutMismatch(name, f"an object has the category {category}, which is none", "restore the file")
        objects.setdefault(_coco.whole(entry.get("image_id"), name, 0), []).append(
            (category, entry.get("segmentation"))
        )
    images = only_folder(folder, f"images/{split}", split) or split
    pairs = []
    for entry in described["images"]:
        image = f"{images}/{tables.inside(str(entry.get('file_name', '')), name).as_posix()}"
        if not (folder / image).is_file():
            raise MissingMask(name, f"it names {image}, and there is no such file", "unpack the whole split")
        sides = _coco.whole(entry.get("height"), name), _coco.whole(entry.get("width"), name)
        drawn = Objects(sides, tuple(objects.get(_coco.whole(entry.get("id"), name, 0), ())), name)
        pairs.append(Pair(image, str(folder), name, drawn=drawn))
    if not pairs:
        raise LayoutMismatch(name, "it describes no image", "check the split")
    return Found(
        tuple(sorted(pairs, key=lambda p: p.name)),
        ((0, "background"), *published, (_coco.VOID, None)),
        ((name, folder / name),),
    )


LAYOUT = Layout(
    "coco_instances",
    "COCO instances",
    "cocodataset.org/#format-data",
    "the split's images and annotations",
    (),
    _find,
    "`SPLIT/` (or `images/SPLIT/`), `annotations/instances_SPLIT.json`; several classes on a pixel: ignored",
    "annotations/instances_*.json",
    any_split="val2017",
)

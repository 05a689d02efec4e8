"""Cityscapes: street scenes of 50 cities, finely annotated.

Source: Cordts et al., CVPR 2016; github.com/mcordts/cityscapesScripts, README (folders and names of files) and
cityscapesscripts/helpers/labels.py (ids, names, and which are left out of the evaluation). Masks are `labelIds`.
"""

from __future__ import annotations

from pathlib import Path

from robspec.data.layouts._layout import Found, Layout, Published, by_patterns

_NAMES = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
PUBLISHED: Published = tuple((k, _NAMES.get(k)) for k in range(34))


def _find(folder: Path, split: str) -> Found:
    images = f"leftImg8bit/{split}/{{city}}/{{stem}}_leftImg8bit.png"
    masks = f"gtFine/{split}/{{city}}/{{stem}}_gtFine_labelIds.png"
    return Found(by_patterns(folder, images, masks, LAYOUT.title), PUBLISHED)


LAYOUT = Layout(
    "cityscapes",
    "Cityscapes",
    "github.com/mcordts/cityscapesScripts",
    "leftImg8bit and gtFine",
    ("train", "val"),
    _find,
    "`leftImg8bit/SPLIT/{city}/{stem}_leftImg8bit.png`, `gtFine/SPLIT/{city}/{stem}_gtFine_labelIds.png`",
    "leftImg8bit",
)

"""Pascal VOC 2012 and its kin, segmentation.

Source: Everingham et al., IJCV 2010; the VOC2012 development kit, sections 3 and 4.3: lists in
ImageSets/Segmentation, masks as palette PNG, 0 background, 1 to 20 objects, 255 void.
"""

from __future__ import annotations

from pathlib import Path

from robspec.data.layouts._layout import Found, Layout, listed, numbered, stems_of

NAMES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


def _find(folder: Path, split: str) -> Found:
    name = f"ImageSets/Segmentation/{split}.txt"
    stems = stems_of(folder, name, LAYOUT.title)
    pairs = listed(folder, stems, "JPEGImages/{stem}.jpg", "SegmentationClass/{stem}.png", name)
    return Found(pairs, (*numbered(*NAMES), (255, None)), ((name, folder / name),))


LAYOUT = Layout(
    "voc",
    "Pascal VOC",
    "host.robots.ox.ac.uk/pascal/VOC/voc2012",
    "JPEGImages, SegmentationClass and ImageSets (VOCdevkit/VOC2012)",
    ("train", "val", "trainval"),
    _find,
    "`JPEGImages/{stem}.jpg`, `SegmentationClass/{stem}.png`, stems in `ImageSets/Segmentation/SPLIT.txt`",
    "ImageSets/Segmentation",
)

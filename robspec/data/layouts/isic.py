"""ISIC 2018, task 1: the boundaries of skin lesions.

Source: Codella et al., arXiv 1902.03368; challenge.isic-archive.com/data (2018, task 1): a mask is named after its
image with `_segmentation`, and holds 255 on the lesion.
"""

from __future__ import annotations

from pathlib import Path

from robspec.data.layouts._layout import Found, Layout, by_patterns

_PARTS = {"train": "Training", "val": "Validation", "test": "Test"}


def _find(folder: Path, split: str) -> Found:
    part = _PARTS[split]
    images = f"ISIC2018_Task1-2_{part}_Input/{{stem}}.jpg"
    masks = f"ISIC2018_Task1_{part}_GroundTruth/{{stem}}_segmentation.png"
    return Found(by_patterns(folder, images, masks, LAYOUT.title), ((0, "background"), (255, "lesion")))


LAYOUT = Layout(
    "isic",
    "ISIC 2018",
    "challenge.isic-archive.com/data",
    "ISIC2018_Task1-2_Training_Input and its like",
    tuple(_PARTS),
    _find,
    "`ISIC2018_Task1-2_Training_Input/{stem}.jpg`, `ISIC2018_Task1_Training_GroundTruth/{stem}_segmentation.png`",
    "ISIC2018_Task1*_GroundTruth",
)

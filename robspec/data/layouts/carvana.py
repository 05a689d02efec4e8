"""Carvana: cars before a white wall, from 16 sides.

Source: kaggle.com/c/carvana-image-masking-challenge/data: train/STEM.jpg and train_masks/STEM_mask.gif, which holds
1 on the car; the copy of VNN-COMP 2022 calls the folders images and masks.
"""

from __future__ import annotations

from pathlib import Path

from robspec.data.layouts._layout import Found, Layout, by_patterns, only_folder

_FOLDERS = {"train": "train_masks", "images": "masks"}


def _find(folder: Path, _split: str) -> Found:
    images = only_folder(folder, *_FOLDERS) or "train"
    pairs = by_patterns(folder, f"{images}/{{stem}}.jpg", f"{_FOLDERS[images]}/{{stem}}_mask.gif", LAYOUT.title)
    return Found(pairs, ((0, "background"), (1, "car")))


LAYOUT = Layout(
    "carvana",
    "Carvana",
    "kaggle.com/c/carvana-image-masking-challenge",
    "train and train_masks, or images and masks",
    (),
    _find,
    "`train/{stem}.jpg`, `train_masks/{stem}_mask.gif`; or `images` and `masks`",
    "*masks/*_mask.gif",
)

"""nnU-Net v2's raw data, in natural image formats.

Source: Isensee et al., Nature Methods 2021; github.com/MIC-DKFZ/nnUNet, documentation/dataset_format.md:
imagesTr/CASE_0000.png, labelsTr/CASE.png, and dataset.json with `labels` (a name and a number each, one of them
perhaps `ignore`) and `file_ending`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from robspec.data import reading
from robspec.data.errors import LayoutMismatch
from robspec.data.layouts._layout import Found, Layout, Published, by_patterns

_TABLE = "dataset.json"
_PARTS = {"train": "Tr", "test": "Ts"}
_ENDINGS = (".png", ".tif", ".tiff")


def _find(folder: Path, split: str) -> Found:
    described = _described(folder)
    ending = described.get("file_ending")
    if ending not in _ENDINGS:
        raise LayoutMismatch(_TABLE, f"its files end in {ending!r:.40}", "export 2D images as PNG, without loss")
    part = _PARTS[split]
    if any((folder / f"images{part}").glob(f"*_0001{ending}")):
        raise LayoutMismatch(
            f"images{part}", "its images have several files, one for each channel", "write them as one array each"
        )
    pairs = by_patterns(folder, f"images{part}/{{case}}_0000{ending}", f"labels{part}/{{case}}{ending}", LAYOUT.title)
    return Found(pairs, _names(described), ((_TABLE, folder / _TABLE),))


def _described(folder: Path) -> dict[str, Any]:
    if not (folder / _TABLE).is_file():
        raise LayoutMismatch(str(folder), f"nnU-Net v2: there is no file {_TABLE}", "name the folder DatasetXXX_Name")
    try:
        found = json.loads(reading.file_bytes(folder / _TABLE, _TABLE))
    except (ValueError, RecursionError) as error:
        raise LayoutMismatch(_TABLE, f"it is no JSON: {error}", "restore the file") from error
    if not isinstance(found, dict) or not isinstance(found.get("labels"), dict):
        raise LayoutMismatch(_TABLE, "it has no `labels`", "restore the file")
    return found


def _names(described: dict[str, Any]) -> Published:
    found: list[tuple[int, str | None]] = []
    for name, value in described["labels"].items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise LayoutMismatch(
                _TABLE, f"the label {name!r:.40} is a region of several numbers", "say with `map` what they stand for"
            )
        found.append((value, None if name == "ignore" else name))
    return tuple(found)


LAYOUT = Layout(
    "nnunet",
    "nnU-Net v2",
    "github.com/MIC-DKFZ/nnUNet, documentation/dataset_format.md",
    "dataset.json, imagesTr and labelsTr",
    tuple(_PARTS),
    _find,
    "`imagesTr/{case}_0000.png`, `labelsTr/{case}.png` (`Ts` for test), names in `dataset.json`",
    "imagesTr",
)

"""Kvasir-SEG: polyps in endoscopy.

Source: Jha et al., MMM 2020; datasets.simula.no/kvasir-seg: images/STEM.jpg and masks/STEM.jpg. The masks are JPEG
files, so that black and white have grey edges; their authors take 128 and more for the polyp
(github.com/DebeshJha/Kvasir-SEG), and so does this layout, and the report says so. Copies with PNG masks of 0 and
255, or of 0 and 1, are read as they are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from robspec.data import raster, reading
from robspec.data.errors import LayoutMismatch
from robspec.data.layouts._layout import Found, Layout, by_patterns
from robspec.data.pairing import Pair
from robspec.notes import Note

_FROM = 128
_NAMES = ((0, "background"), (255, "polyp"), (1, "polyp"))


@dataclass(frozen=True, slots=True)
class Grey:
    """A JPEG mask, the polyp from 128 on.

    Args:
        path: the file.
        name: what messages call it.
        sides: height and width.
        channels: 1, or 3 of a grey picture stored in colour.
    """

    path: Path
    name: str
    sides: tuple[int, int]
    channels: int

    def values(self) -> npt.NDArray[np.integer]:
        """0 and 1, by the first channel."""
        pixels = raster.image_pixels(reading.file_bytes(self.path, self.name), self.channels, self.name)
        found: npt.NDArray[np.integer] = np.where(pixels[0] >= _FROM, np.uint8(1), np.uint8(0))
        return found

    def digest(self) -> bytes:
        """Of the file."""
        return hashlib.sha256(reading.file_bytes(self.path, self.name)).digest()


def _find(folder: Path, _split: str) -> Found:
    pairs = by_patterns(folder, "images/{stem}.*", "masks/{stem}.*", LAYOUT.title)
    found = tuple(_drawn(p) for p in pairs)
    grey = sum(p.drawn is not None for p in found)
    text = f"{grey} masks are JPEG files: {_FROM} and more of 255 is the polyp, as their publishers take it"
    noted = (Note("masks-from-grey-levels", f"layout {LAYOUT.name}", text, {"masks": grey}),) if grey else ()
    return Found(found, _NAMES, noted=noted)


def _drawn(pair: Pair) -> Pair:
    if pair.mask is None or pair.mask.suffix.lower() not in (".jpg", ".jpeg"):
        return pair
    with pair.mask.open("rb") as file:
        head = raster.header(file, pair.mask_name)
    if head.channels not in (1, 3) or not head.exact or head.orientation != 1:
        raise LayoutMismatch(pair.mask_name, f"the mask is of kind {head.kind}, or turned", "restore the data set")
    drawn = Grey(pair.mask, pair.mask_name, head.sides, head.channels)
    return Pair(pair.name, pair.root, pair.mask_name, drawn=drawn)


LAYOUT = Layout(
    "kvasir",
    "Kvasir-SEG",
    "datasets.simula.no/kvasir-seg",
    "images and masks",
    (),
    _find,
    "`images/{stem}.*`, `masks/{stem}.*`; JPEG masks are the polyp from 128 on",
    "kavsir_bboxes.json",
)

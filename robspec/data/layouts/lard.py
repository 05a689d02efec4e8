"""LARD, Landing Approach Runway Detection: four corners for each runway, a line each.

Source: Ducoffe et al., arXiv 2304.09938; github.com/deel-ai/LARD, `infos.md`: SPLIT.csv with semicolons, whose
column `image` is the path of the image as seen from the table. Several lines of one image are several runways, and
the mask is their union.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from robspec.data import lard, tables
from robspec.data.errors import LayoutMismatch, MissingMask
from robspec.data.layouts._layout import Found, Layout
from robspec.data.pairing import Pair


@dataclass(frozen=True, slots=True)
class Runways:
    """The mask of an image's runways."""

    annotation: lard.Annotation

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width that the table gives."""
        return self.annotation.height, self.annotation.width

    def values(self) -> npt.NDArray[np.integer]:
        """1 on a runway, else 0."""
        return self.annotation.mask()

    def digest(self) -> bytes:
        """Of the corners."""
        return hashlib.sha256(repr(self.annotation).encode()).digest()


def _find(folder: Path, split: str) -> Found:
    name = f"{split}.csv"
    if not (folder / name).is_file():
        raise LayoutMismatch(
            str(folder), f"LARD: there is no table {name}", "`split` is the table's name, without .csv"
        )
    found, root = [], str(folder)
    for annotation in lard.read(folder / name):
        image = tables.inside(annotation.image, name).as_posix()
        if not (folder / image).is_file():
            raise MissingMask(name, f"it names {image}, and there is no such file", "unpack the whole data set")
        found.append(Pair(image, root, name, drawn=Runways(annotation)))
    pairs = tuple(sorted(found, key=lambda p: p.name))
    return Found(pairs, ((0, "background"), (1, "runway")), ((name, folder / name),))


LAYOUT = Layout(
    "lard",
    "LARD",
    "github.com/deel-ai/LARD",
    "the table and the images",
    (),
    _find,
    "`SPLIT.csv`, images as its column `image` says; the mask is the union of the runways",
    "LARD_*.csv",
    any_split="LARD_train",
)

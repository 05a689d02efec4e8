"""Scenes of several objects: the runway or none, and aircraft in the air before it, each with its mask and box."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from robspec.data.runway import scene as base
from robspec.data.runway.traffic import AEROPLANE, BALLOON, Craft, pick

CLASSES = ("runway", AEROPLANE, BALLOON)
_TRIES = 60
_LEAST = 12
"""Pixels: what is smaller is not worth annotating, and is not drawn."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One object of a scene.

    Args:
        name: its class, one of `CLASSES`.
        mask: bool [size, size], its pixels; no pixel is of two objects.
    """

    name: str
    mask: npt.NDArray[np.bool_]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of its pixels, edges of pixels."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
        return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


@dataclass(frozen=True, slots=True)
class Crowded:
    """A scene with its objects.

    Args:
        image: uint8 [size, size, 3].
        objects: the runway first where it is there.
    """

    image: npt.NDArray[np.uint8]
    objects: tuple[Placed, ...]

    @property
    def mask(self) -> npt.NDArray[np.uint8]:
        """uint8 [size, size]: 0, or 1 more than the index of the class."""
        found = np.zeros(self.image.shape[:2], np.uint8)
        for item in self.objects:
            found[item.mask] = 1 + CLASSES.index(item.name)
        return found


def draw(seed: int, size: int = 64, most: int = 6) -> Crowded:
    """Draw the scene of a seed.

    Args:
        seed: at least 0; with `most` and `size` it decides everything.
        size: height and width in pixels.
        most: objects at most; how many are asked for is uniform from 0 on, and fewer where there is no room.

    Returns:
        The scene: objects lie apart, and what is smaller than a dozen pixels is left out.
    """
    rng = np.random.default_rng([seed, most])
    wanted = int(rng.integers(0, most + 1))
    runway = base.mask(seed, size) == 1
    bare = wanted == 0 or rng.random() >= 0.8 or runway.sum() < _LEAST
    masks = [] if bare else [Placed(CLASSES[0], runway)]
    aircraft: list[Craft] = []
    at = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(at, at)
    for _ in range(_TRIES):
        if len(masks) >= wanted:
            break
        craft = pick(rng, CLASSES[1 + int(rng.integers(2))])
        mask = craft.covers(x, y)
        apart = not any((mask & other.mask).any() for other in masks)
        if apart and not any(map(_meets(craft), aircraft)) and mask.sum() >= _LEAST:
            aircraft.append(craft)
            masks.append(Placed(craft.kind, mask))
    return Crowded(base.drawn(seed, size, bare=bare, aircraft=aircraft).image, tuple(masks))


def _meets(craft: Craft) -> Callable[[Craft], bool]:
    """Whether another aircraft's square meets this one's."""
    left, top, right, bottom = craft.reach
    return lambda o: o.reach[0] < right and left < o.reach[2] and o.reach[1] < bottom and top < o.reach[3]


def write(
    folder: Path, count: int, seed: int, size: int, most: int, progress: Callable[[int], None] = lambda _: None
) -> None:
    """Draw scenes into an empty folder.

    Args:
        folder: exists; receives images/, masks/ and objects.json, in COCO's format.
        count: number of scenes; scene k depends on `seed + k`, `size` and `most` alone.
        seed: of the first scene.
        size: height and width in pixels.
        most: objects of a scene, at most.
        progress: called with the number of scenes just written.
    """
    for part in ("images", "masks"):
        (folder / part).mkdir()
    digits = max(len(str(count - 1)), 4)
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for k in range(count):
        scene = draw(seed + k, size, most)
        name = f"{k:0{digits}d}.png"
        Image.fromarray(scene.image).save(folder / "images" / name, optimize=True)
        Image.fromarray(scene.mask).save(folder / "masks" / name, optimize=True)
        images.append({"id": k + 1, "file_name": name, "width": size, "height": size})
        for item in scene.objects:
            left, top, right, bottom = item.box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": k + 1,
                    "category_id": 1 + CLASSES.index(item.name),
                    "bbox": [left, top, right - left, bottom - top],
                    "area": int(item.mask.sum()),
                    "iscrowd": 0,
                }
            )
        progress(1)
    categories = [{"id": 1 + k, "name": name} for k, name in enumerate(CLASSES)]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "objects.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")

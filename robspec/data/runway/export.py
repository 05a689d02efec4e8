"""Writes scenes in the layout that specifications read: images, masks, and an annotation in LARD's columns."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from robspec.data import lard, polygon
from robspec.data.runway.camera import AIMING_POINT
from robspec.data.runway.scene import NAUTICAL_MILE, Scene, draw

_FEET = 3.28084
BOX = ("x_min", "y_min", "x_max", "y_max")
"""Columns behind LARD's own: the bounding box of the corners, pixels."""


def write(folder: Path, count: int, seed: int, size: int, progress: Callable[[int], None] = lambda _: None) -> None:
    """Draw scenes into an empty folder.

    Args:
        folder: exists; receives images/, masks/ and annotations.csv.
        count: number of scenes; scene k depends on `seed + k` alone.
        seed: of the first scene.
        size: height and width in pixels.
        progress: called with the number of scenes just written.
    """
    for part in ("images", "masks"):
        (folder / part).mkdir()
    digits = max(len(str(count - 1)), 4)
    rows = []
    for k in range(count):
        scene = draw(seed + k, size)
        name = f"{k:0{digits}d}.png"
        Image.fromarray(scene.image).save(folder / "images" / name, optimize=True)
        Image.fromarray(scene.mask).save(folder / "masks" / name, optimize=True)
        rows.append(annotation(scene, f"images/{name}", size, seed + k))
        progress(1)
    (folder / "annotations.csv").write_text(lard.write(rows, BOX), encoding="utf-8")


def annotation(scene: Scene, image: str, size: int, seed: int) -> dict[str, object]:
    """Describe a scene in LARD's columns and units: nautical miles, feet, degrees, pixels.

    Args:
        scene: what was drawn.
        image: its path.
        size: its side.
        seed: what it was drawn from.

    Returns:
        Values by column. Yaw less ten times the runway's number is the yaw relative to the runway, as in LARD.
    """
    approach = scene.approach
    along, _, height = approach.position
    box = polygon.box(scene.corners, size, size)
    return {
        "image": image,
        "height": size,
        "width": size,
        "type": "robspec",
        "original_dataset": "robspec runway",
        "scenario": f"seed_{seed}",
        "runway": "36",
        "time": _clock(scene.light.hour),
        "slant_distance": f"{approach.slant / NAUTICAL_MILE:.4f}",
        "along_track_distance": f"{(AIMING_POINT - along) / NAUTICAL_MILE:.4f}",
        "height_above_runway": f"{height * _FEET:.2f}",
        "lateral_path_angle": f"{approach.lateral:.4f}",
        "vertical_path_angle": f"{approach.vertical:.4f}",
        "yaw": f"{approach.yaw:.4f}",
        "pitch": f"{90 + approach.pitch:.4f}",
        "roll": f"{-approach.roll:.4f}",
        "watermark_height": 0,
        **lard.corner_columns(scene.corners),
        **{name: f"{value:.4f}" for name, value in zip(BOX, box, strict=True)},
    }


def _clock(hour: float) -> str:
    seconds = math.floor(hour * 3600)
    return f"2000-06-21 {seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"

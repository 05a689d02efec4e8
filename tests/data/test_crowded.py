"""Scenes of several objects: boxes are the extents of what is drawn, and the files are read as COCO's are."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robspec.data.dataset import open_dataset
from robspec.data.runway import crowded, scene
from robspec.ir.types import Data, Model
from tests.cli.conftest import Run
from tests.cli.conftest import robspec as robspec

SIDE = 48
SEEDS = range(20)
MODEL = Model((3, SIDE, SIDE), Fraction(0), Fraction(1), (3, 84), crowded.CLASSES)


@pytest.fixture(scope="module")
def scenes() -> list[crowded.Crowded]:
    return [crowded.draw(seed, SIDE) for seed in SEEDS]


def test_boxes_are_the_extents_of_the_masks(scenes: list[crowded.Crowded]) -> None:
    """Pixel by pixel, from the one mask that is written."""
    met = set()
    for found in scenes:
        for item in found.objects:
            places = [(r, c) for r in range(SIDE) for c in range(SIDE) if item.mask[r, c]]
            rows, columns = [r for r, _ in places], [c for _, c in places]
            assert item.box == (min(columns), min(rows), max(columns) + 1, max(rows) + 1)
            assert all(found.mask[p] == 1 + crowded.CLASSES.index(item.name) for p in places)
            met.add(item.name)
        assert sum(int(item.mask.sum()) for item in found.objects) == int((found.mask > 0).sum())
    assert met == set(crowded.CLASSES)


def test_an_object_changes_the_image_within_its_box_alone(scenes: list[crowded.Crowded]) -> None:
    """But for thin ends that the centre of no pixel sees: three pixels around it."""
    for seed, found in zip(SEEDS, scenes, strict=True):
        names = [item.name for item in found.objects]
        without = scene.drawn(seed, SIDE, bare="runway" not in names).image.astype(int)
        changed = np.abs(found.image.astype(int) - without).max(axis=2) > 0
        around = np.zeros_like(changed)
        for item in found.objects:
            if item.name != "runway":
                left, top, right, bottom = item.box
                around[max(0, top - 3) : bottom + 3, max(0, left - 3) : right + 3] = True
                assert changed[item.mask].mean() > 0.9
        assert not changed[~around].any()


def test_how_many(scenes: list[crowded.Crowded]) -> None:
    counts = [len(found.objects) for found in scenes]
    assert min(counts) == 0
    assert 4 <= max(counts) <= 6
    assert all(item.mask.sum() >= 12 for found in scenes for item in found.objects)
    assert max(len(crowded.draw(seed, SIDE, 1).objects) for seed in range(6)) == 1


def test_a_seed_decides_everything(scenes: list[crowded.Crowded]) -> None:
    again = crowded.draw(3, SIDE)
    assert np.array_equal(again.image, scenes[3].image)
    assert [o.box for o in again.objects] == [o.box for o in scenes[3].objects]
    assert not np.array_equal(again.image, scenes[4].image)


def test_a_bare_scene_has_no_runway_and_the_mask_alone_is_that_of_the_scene() -> None:
    assert not scene.drawn(5, SIDE, bare=True).mask.any()
    assert np.array_equal(scene.mask(5, SIDE), scene.draw(5, SIDE).mask)


def test_the_command_writes_what_a_specification_reads(
    tmp_path: Path, scenes: list[crowded.Crowded], robspec: Run
) -> None:
    out = tmp_path / "sky"
    given = ["runway", str(out), "--count", "5", "--seed", "2", "--size", str(SIDE), "--objects", "6"]
    assert robspec(*given).status == 0
    data = Data("sky", "images/*.png", objects="objects.json", objects_format="coco")
    opened = open_dataset(data, MODEL, out)
    for k, found in enumerate(scenes[2:7]):
        boxes = np.array([o.box for o in found.objects], dtype=np.float64).reshape(-1, 4)
        assert np.array_equal(opened.objects[k].boxes, boxes)
        assert opened.objects[k].classes.tolist() == [crowded.CLASSES.index(o.name) for o in found.objects]
        assert np.array_equal(np.asarray(Image.open(out / "images" / f"000{k}.png")), found.image)
        assert np.array_equal(np.asarray(Image.open(out / "masks" / f"000{k}.png")), found.mask)

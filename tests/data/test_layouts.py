"""Published layouts, each on a miniature of its own: every cell of the table in docs/reference/layouts.md."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robspec.data import errors, layouts
from robspec.data.dataset import Batch, Dataset, open_dataset
from robspec.errors import MissingExtra, RobspecError
from robspec.ir.types import UNLABELLED
from robspec.lower import compile_text

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "layouts.md"
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
RNG = np.random.default_rng(3)
PICTURE = RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8)
STORED = RNG.integers(0, 4, (4, 6))
"""A mask of four labels."""


def save(path: Path, array: Any, palette: bool = False) -> None:
    """One file, whose folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.asarray(array, np.uint8))
    if palette:
        picture.putpalette(RNG.integers(0, 256, 768, dtype=np.uint8).tobytes())
    picture.save(path)


def opened(root: Path, data: str, *classes: str, more: str = "", sides: tuple[int, int] = (4, 6)) -> Dataset:
    """A data set as a specification beside `root` names it."""
    names = ", ".join(f'"{c}"' for c in classes)
    name, _, rest = data.partition(" ")
    text = f"""language 1
model {{
  input image [3, {sides[0]}, {sides[1]}] in [0, 1]
  output logits [{len(classes)}, {sides[0]}, {sides[1]}]
  classes {names}
}}
data d {{
  layout {name} {rest}
{more}
}}
property p {{
  metric pixel_accuracy
  norm l2
  budget 0
  require worst_case >= 0 for all images
}}
"""
    program, diagnostics = compile_text(text)
    assert program is not None, diagnostics
    return open_dataset(program.data, program.model, root)


def read(root: Path, data: str, *classes: str, more: str = "", sides: tuple[int, int] = (4, 6)) -> Batch:
    """All of it, as one batch."""
    (batch,) = opened(root, data, *classes, more=more, sides=sides).batches(1000)
    return batch


def expect(batch: Batch, *masks: Any) -> None:
    assert batch.labels is not None
    assert np.array_equal(batch.labels, np.stack([np.asarray(m) for m in masks]))


def test_cityscapes(tmp_path: Path) -> None:
    ids = np.array([7, 8, 0, 33])
    for city in ("ulm", "bonn"):
        save(tmp_path / f"c/leftImg8bit/val/{city}/{city}_000000_000019_leftImg8bit.png", PICTURE)
        for kind in ("labelIds", "labelTrainIds", "instanceIds"):
            save(tmp_path / f"c/gtFine/val/{city}/{city}_000000_000019_gtFine_{kind}.png", ids[STORED])
    batch = read(tmp_path, 'cityscapes "c" split val', "road", "sidewalk", "bicycle")
    assert batch.names[0] == "c/leftImg8bit/val/bonn/bonn_000000_000019_leftImg8bit.png"
    wanted = np.array([0, 1, UNLABELLED, 2])[STORED]
    expect(batch, wanted, wanted)


def test_voc(tmp_path: Path) -> None:
    for name in ("2007_000033", "2007_000042", "2007_000061"):
        save(tmp_path / f"VOC2012/JPEGImages/{name}.jpg", PICTURE)
        save(tmp_path / f"VOC2012/SegmentationClass/{name}.png", np.array([0, 15, 7, 255])[STORED], palette=True)
    (tmp_path / "VOC2012/ImageSets/Segmentation").mkdir(parents=True)
    (tmp_path / "VOC2012/ImageSets/Segmentation/val.txt").write_text("2007_000042\n2007_000033\n")
    batch = read(tmp_path, 'voc "VOC2012" split val', "background", "car", "person")
    wanted = np.array([0, 2, 1, UNLABELLED])[STORED]
    expect(batch, wanted, wanted)
    (tmp_path / "VOC2012/ImageSets/Segmentation/val.txt").write_text("../../2007_000042\n")
    with pytest.raises(errors.PathOutside):
        opened(tmp_path, 'voc "VOC2012" split val', "background", "car", "person")


def test_ade20k(tmp_path: Path) -> None:
    save(tmp_path / "ade/images/validation/ADE_val_00000001.jpg", PICTURE)
    save(tmp_path / "ade/annotations/validation/ADE_val_00000001.png", STORED)
    rows = ["Idx\tRatio\tTrain\tVal\tStuff\tName", "1\t0.1\t1\t1\t1\twall", "2\t0.1\t1\t1\t1\tbuilding, edifice"]
    (tmp_path / "ade/objectInfo150.txt").write_text("\n".join([*rows, "3\t0.1\t1\t1\t1\tsky"]) + "\n")
    batch = read(tmp_path, 'ade20k "ade" split validation', "wall", "building", "sky")
    expect(batch, np.array([UNLABELLED, 0, 1, 2])[STORED])


def test_camvid(tmp_path: Path) -> None:
    save(tmp_path / "camvid/val/0016E5_07959.png", PICTURE)
    save(tmp_path / "camvid/valannot/0016E5_07959.png", np.array([0, 3, 6, 11])[STORED])
    batch = read(tmp_path, 'camvid "camvid" split val', "Sky", "Road", "Sign_Symbol")
    expect(batch, np.array([0, 1, 2, UNLABELLED])[STORED])


def test_isic(tmp_path: Path) -> None:
    save(tmp_path / "isic/ISIC2018_Task1-2_Validation_Input/ISIC_0012255.jpg", PICTURE)
    save(tmp_path / "isic/ISIC2018_Task1_Validation_GroundTruth/ISIC_0012255_segmentation.png", STORED % 2 * 255)
    expect(read(tmp_path, 'isic "isic" split val', "background", "lesion"), STORED % 2)


@pytest.mark.parametrize("folders", [("train", "train_masks"), ("images", "masks")])
def test_carvana(tmp_path: Path, folders: tuple[str, str]) -> None:
    save(tmp_path / f"carvana/{folders[0]}/00087a6bd4dc_01.jpg", PICTURE)
    save(tmp_path / f"carvana/{folders[1]}/00087a6bd4dc_01_mask.gif", STORED % 2)
    expect(read(tmp_path, 'carvana "carvana"', "background", "car"), STORED % 2)


def test_kvasir(tmp_path: Path) -> None:
    save(tmp_path / "kvasir/images/cju0qkwl35piu0993l0dewei2.jpg", PICTURE)
    save(tmp_path / "kvasir/masks/cju0qkwl35piu0993l0dewei2.jpg", np.kron([[0, 1]], np.ones((4, 3))) * 255)
    dataset = opened(tmp_path, 'kvasir "kvasir"', "background", "polyp")
    (batch,) = dataset.batches(1)
    expect(batch, np.kron([[0, 1]], np.ones((4, 3))))
    assert [note.code for note in dataset.remarks] == ["masks-from-grey-levels"]
    of_grey = dataset.digest()
    (tmp_path / "kvasir/masks/cju0qkwl35piu0993l0dewei2.jpg").unlink()
    save(tmp_path / "kvasir/masks/cju0qkwl35piu0993l0dewei2.png", STORED % 2 * 255)
    exact = opened(tmp_path, 'kvasir "kvasir"', "background", "polyp")
    expect(next(exact.batches(1)), STORED % 2)
    assert exact.remarks == ()
    assert exact.digest() != of_grey


def nnunet(root: Path, labels: dict[str, Any], ending: str = ".png") -> None:
    """A raw data set of one case."""
    save(root / "Dataset001_X/imagesTr/case_7_0000.png", PICTURE)
    save(root / "Dataset001_X/labelsTr/case_7.png", STORED)
    described = {"channel_names": {"0": "R"}, "labels": labels, "numTraining": 1, "file_ending": ending}
    (root / "Dataset001_X/dataset.json").write_text(json.dumps(described))


def test_nnunet(tmp_path: Path) -> None:
    nnunet(tmp_path, {"background": 0, "edema": 1, "tumour": 2, "ignore": 3})
    batch = read(tmp_path, 'nnunet "Dataset001_X" split train', "background", "edema", "tumour")
    expect(batch, np.array([0, 1, 2, UNLABELLED])[STORED])


@pytest.mark.parametrize(
    "change",
    [
        lambda root: nnunet(root, {"background": 0, "whole": [1, 2], "tumour": 2}),
        lambda root: nnunet(root, {"background": 0, "tumour": 1}, ".nii.gz"),
        lambda root: save(root / "Dataset001_X/imagesTr/case_7_0001.png", PICTURE),
        lambda root: (root / "Dataset001_X/dataset.json").write_text("[" * 100_000),
        lambda root: (root / "Dataset001_X/dataset.json").unlink(),
    ],
    ids=["regions", "volumes", "a file for each channel", "no JSON", "no description"],
)
def test_nnunet_that_is_refused(tmp_path: Path, change: Callable[[Path], object]) -> None:
    nnunet(tmp_path, {"background": 0, "edema": 1, "tumour": 2, "ignore": 3})
    change(tmp_path)
    with pytest.raises(errors.LayoutMismatch):
        opened(tmp_path, 'nnunet "Dataset001_X" split train', "background", "edema", "tumour")


def test_lard(tmp_path: Path) -> None:
    head = "image;height;width;" + ";".join(f"{a}_{c}" for c in "ABCD" for a in "xy")
    rows = ["im/a.png;4;6;0;0;2;0;0;4;2;4", "im/a.png;4;6;4;0;6;0;4;2;6;2", "im/b.png;4;6;0;0;6;0;0;1;6;1"]
    for name in "ab":
        save(tmp_path / f"lard/im/{name}.png", PICTURE)
    (tmp_path / "lard/LARD_test_real.csv").write_text("\n".join([head, *rows]) + "\n")
    batch = read(tmp_path, 'lard "lard" split LARD_test_real', "background", "runway")
    both, top = np.zeros((4, 6), int), np.zeros((4, 6), int)
    both[:, :2] = both[:2, 4:] = top[0] = 1
    expect(batch, both, top)
    with pytest.raises(errors.LayoutMismatch):
        opened(tmp_path, 'lard "lard" split LARD_train', "background", "runway")


def coco(root: Path, objects: list[dict[str, Any]]) -> None:
    """One image of 4 x 6 with objects of the categories 18 and 44."""
    save(root / "coco/val2017/000000000139.jpg", PICTURE)
    categories = [{"id": 18, "name": "dog"}, {"id": 44, "name": "bottle"}]
    image = {"id": 139, "file_name": "000000000139.jpg", "height": 4, "width": 6}
    described = {"images": [image], "annotations": objects, "categories": categories}
    (root / "coco/annotations").mkdir(exist_ok=True)
    (root / "coco/annotations/instances_val2017.json").write_text(json.dumps(described))


def thing(category: int, segmentation: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 139, "category_id": category, "iscrowd": 0, "segmentation": segmentation}


def test_coco_instances_by_run_lengths(tmp_path: Path) -> None:
    """Packed and as lists, against masks that pycocotools packs."""
    dog, bottle = STORED == 1, STORED >= 2
    bottle[0], dog[0] = True, True
    masks = pytest.importorskip("pycocotools.mask")
    packed = masks.encode(np.asfortranarray(dog.astype(np.uint8)))
    packed["counts"] = packed["counts"].decode()
    flat = bottle.T.flatten()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [not flat[-1]]])))
    counts = np.diff(np.concatenate([[0], edges])).tolist()
    coco(tmp_path, [thing(18, packed), thing(44, {"size": [4, 6], "counts": counts})])
    wanted = np.where(dog & bottle, UNLABELLED, np.where(dog, 1, np.where(bottle, 2, 0)))
    expect(read(tmp_path, 'coco_instances "coco" split val2017', "background", "dog", "bottle"), wanted)


def test_coco_run_lengths_are_those_of_pycocotools() -> None:
    masks = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(4)
    from robspec.data.layouts import _coco

    for height, width in ((1, 1), (7, 5), (40, 300)):
        for share in (0, 0.02, 0.5, 1):
            drawn = rng.random((height, width)) < share
            packed = masks.encode(np.asfortranarray(drawn.astype(np.uint8)))
            text = {"size": [height, width], "counts": packed["counts"].decode()}
            assert np.array_equal(_coco.region(text, height, width, "x"), drawn)


def test_coco_instances_by_polygons(tmp_path: Path) -> None:
    pytest.importorskip("pycocotools.mask")
    coco(tmp_path, [thing(18, [[1, 1, 4, 1, 4, 3, 1, 3], [5, 0, 6, 0, 6, 1, 5, 1]])])
    wanted = np.zeros((4, 6), int)
    wanted[1:3, 1:4] = wanted[0, 5] = 1
    expect(read(tmp_path, 'coco_instances "coco" split val2017', "background", "dog"), wanted)


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [4, 6], "counts": [25]},
        {"size": [4, 6], "counts": [-1, 25]},
        {"size": [4, 6], "counts": [2**62, 2**62]},
        {"size": [6, 4], "counts": [24]},
        {"size": [4, 6], "counts": "zzzz"},
        {"size": [4, 6], "counts": "o" * 100},
        [[0, 0, 1, 1]],
        [[0, 0, 1e9, 0, 1, 1]],
        [["0", 0, 1, 0, 1, 1]],
        [],
        None,
    ],
)
def test_coco_segmentations_that_are_refused(tmp_path: Path, segmentation: Any) -> None:
    coco(tmp_path, [thing(18, segmentation)])
    with pytest.raises(errors.LayoutMismatch):
        read(tmp_path, 'coco_instances "coco" split val2017', "background", "dog")


def test_coco_polygons_need_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pycocotools", None)
    monkeypatch.setitem(__import__("sys").modules, "pycocotools.mask", None)
    coco(tmp_path, [thing(18, [[1, 1, 4, 1, 4, 3]])])
    with pytest.raises(MissingExtra, match="pycocotools") as caught:
        read(tmp_path, 'coco_instances "coco" split val2017', "background", "dog")
    assert "robspec[coco]" in caught.value.mend


def test_coco_panoptic(tmp_path: Path) -> None:
    save(tmp_path / "coco/images/val2017/000000000139.jpg", PICTURE)
    segments = np.array([0, 5, 70_000, 16_000_000])[STORED]
    shown = np.stack([segments & 255, segments >> 8 & 255, segments >> 16], axis=-1)
    save(tmp_path / "coco/annotations/panoptic_val2017/000000000139.png", shown)
    infos = [{"id": k, "category_id": c} for k, c in ((5, 1), (70_000, 184), (16_000_000, 1))]
    described = {
        "images": [{"id": 139, "file_name": "000000000139.jpg", "height": 4, "width": 6}],
        "annotations": [{"image_id": 139, "file_name": "000000000139.png", "segments_info": infos}],
        "categories": [{"id": 1, "name": "person"}, {"id": 184, "name": "tree-merged"}],
    }
    table = tmp_path / "coco/annotations/panoptic_val2017.json"
    table.write_text(json.dumps(described))
    batch = read(tmp_path, 'coco_panoptic "coco" split val2017', "tree-merged", "person")
    expect(batch, np.array([UNLABELLED, 1, 0, 1])[STORED])
    table.write_text(json.dumps(described).replace("70000", "70001"))
    with pytest.raises(errors.LayoutMismatch, match="segment 70000"):
        read(tmp_path, 'coco_panoptic "coco" split val2017', "tree-merged", "person")
    table.write_text(json.dumps(described).replace('"file_name": "0', '"file_name": "../../0'))
    with pytest.raises(errors.PathOutside):
        opened(tmp_path, 'coco_panoptic "coco" split val2017', "tree-merged", "person")


def test_classes_are_matched_or_mapped(tmp_path: Path) -> None:
    save(tmp_path / "carvana/images/a.jpg", PICTURE)
    save(tmp_path / "carvana/masks/a_mask.gif", STORED % 2)
    with pytest.raises(errors.ClassNotPublished) as caught:
        opened(tmp_path, 'carvana "carvana"', "background", "vehicle")
    assert "map 1 to vehicle" in caught.value.mend
    batch = read(tmp_path, 'carvana "carvana"', "background", "vehicle", more="  map 1 to vehicle")
    expect(batch, STORED % 2)
    swapped = read(tmp_path, 'carvana "carvana"', "background", "car", more="  map 1 to background, 0 to car")
    expect(swapped, 1 - STORED % 2)


def test_a_published_class_the_model_lacks(tmp_path: Path) -> None:
    save(tmp_path / "camvid/val/a.png", PICTURE)
    save(tmp_path / "camvid/valannot/a.png", STORED)
    with pytest.raises(errors.LabelOutOfRange, match="published as 'building'") as caught:
        read(tmp_path, 'camvid "camvid" split val', "sky", "road")
    assert "map 1 to" in caught.value.mend
    batch = read(tmp_path, 'camvid "camvid" split val', "sky", "road", more="  map others to ignored")
    expect(batch, np.array([0, UNLABELLED, UNLABELLED, 1])[STORED])


def test_images_of_another_size(tmp_path: Path) -> None:
    save(tmp_path / "carvana/images/a.jpg", PICTURE)
    save(tmp_path / "carvana/masks/a_mask.gif", STORED % 2)
    with pytest.raises(errors.ImageShapeMismatch, match="4 x 6") as caught:
        opened(tmp_path, 'carvana "carvana"', "background", "car", sides=(2, 3))
    assert "resize" in caught.value.mend
    more = "  resize [2, 3] by bilinear"
    batch = read(tmp_path, 'carvana "carvana"', "background", "car", more=more, sides=(2, 3))
    expect(batch, STORED[1::2, 1::2] % 2)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ('cityscape "."', errors.UnknownLayout),
        ('camvid "." split dev', errors.UnknownLayout),
        ('camvid "."', errors.UnknownLayout),
        ('carvana "." split val', errors.UnknownLayout),
        ('coco_instances "."', errors.UnknownLayout),
        ('camvid "none" split val', errors.LayoutMismatch),
        ('camvid "." split val', errors.LayoutMismatch),
        ('voc "." split val', errors.LayoutMismatch),
        ('coco_panoptic "." split val2017', errors.LayoutMismatch),
        ('ade20k "." split training', errors.LayoutMismatch),
    ],
)
def test_what_is_not_there(tmp_path: Path, data: str, kind: type[RobspecError]) -> None:
    with pytest.raises(kind) as caught:
        opened(tmp_path, data, "background", "car")
    assert caught.value.mend


def test_every_layout_is_documented_and_tested() -> None:
    text = DOCS.read_text(encoding="utf-8")
    own = Path(__file__).read_text(encoding="utf-8")
    for name in layouts.names():
        layout = layouts.get(name)
        assert layout.name == name
        row = next(line for line in text.splitlines() if line.startswith(f"| `{name}` |"))
        assert layout.title in row
        assert layout.source in row
        assert layout.files in row
        splits = layout.splits or ((layout.any_split,) if layout.any_split else ())
        assert all(f"`{split}`" in row for split in splits)
        assert re.search(rf"def test_{name}", own), f"no test of {name}"


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("data", "classes", "sides", "count"),
    [
        ('camvid "camvid" split val', layouts.get("camvid").find.__globals__["NAMES"], (360, 480), 20),
        ('kvasir "kvasir"', ("background", "polyp"), (256, 256), 60),
    ],
)
def test_real_data(data: str, classes: tuple[str, ...], sides: tuple[int, int], count: int) -> None:
    if not SHARED.is_dir():
        pytest.skip("no shared data beside the checkout")
    dataset = opened(SHARED, data, *classes, sides=sides)
    assert len(dataset) == count
    batch = next(dataset.batches(2))
    assert batch.labels is not None
    assert set(np.unique(batch.labels)) <= {UNLABELLED, *range(len(classes))}


@pytest.mark.real_data
def test_real_carvana() -> None:
    if not SHARED.is_dir():
        pytest.skip("no shared data beside the checkout")
    dataset = opened(
        SHARED, 'carvana "carvana"', "background", "car", more="  resize [31, 47] by bilinear", sides=(31, 47)
    )
    assert len(dataset) == 16
    (batch,) = dataset.batches(16)
    assert batch.labels is not None
    shares = batch.labels.double().mean(dim=(1, 2))
    assert float(shares.min()) > 0.05
    assert float(shares.max()) < 0.6

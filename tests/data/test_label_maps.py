"""What the numbers and colours of masks stand for, and how images are brought to size: only as the data say."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robspec.data import errors
from robspec.data.dataset import open_dataset
from robspec.ir.types import UNLABELLED, Crop, Data, Mapped, Model, Resize, Step
from robspec.lower import compile_text

RNG = np.random.default_rng(1)
IMAGE = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)
HEAD = """language 1
model {{
  input image [3, {0}, {1}] in [0, 1]
  output logits [2, {0}, {1}]
  classes background, road
}}
property p {{
  metric pixel_accuracy
  norm l2
  budget 0
  require worst_case >= 0 for all images
}}
data d {{
  images "images/*"
  masks "masks/*"
{2}
}}
"""


def labels(folder: Path, mask: np.ndarray, statements: str, *, palette: bytes = b"") -> torch.Tensor:
    """The labels that a specification with these statements reads off a mask of 6 x 8."""
    for name, array in (("images", IMAGE), ("masks", mask)):
        (folder / name).mkdir(exist_ok=True)
        picture = Image.fromarray(array)
        if palette and name == "masks":
            picture.putpalette(palette)
        picture.save(folder / name / "a.png")
    program, diagnostics = compile_text(HEAD.format(6, 8, statements))
    assert program is not None, diagnostics
    (batch,) = open_dataset(program.data, program.model, folder).batches(1)
    assert batch.labels is not None
    return batch.labels[0]


STORED = RNG.integers(0, 12, (6, 8)).astype(np.uint8)


def test_numbers_are_mapped(tmp_path: Path) -> None:
    found = labels(tmp_path, STORED, "  map 7 to road, 0..6 to ignored, 9 to background, others to road")
    expected = [UNLABELLED if v <= 6 else 0 if v == 9 else 1 for v in STORED.flat]
    assert found.flatten().tolist() == expected


def test_several_maps_and_ignored_labels(tmp_path: Path) -> None:
    found = labels(tmp_path, STORED, "  map 0..4 to background\n  map 5..9 to road\n  ignore 10, 11")
    assert found.flatten().tolist() == [UNLABELLED if v > 9 else int(v > 4) for v in STORED.flat]


def test_several_ignored_labels_without_a_map(tmp_path: Path) -> None:
    mask = np.where(STORED > 9, 255, np.where(STORED > 7, 254, STORED % 2)).astype(np.uint8)
    found = labels(tmp_path, mask, "  ignore 255\n  ignore 254, 254")
    assert found.flatten().tolist() == [255 if v >= 254 else int(v) for v in mask.flat]


def test_a_number_that_is_not_mapped(tmp_path: Path) -> None:
    with pytest.raises(errors.LabelOutOfRange) as caught:
        labels(tmp_path, STORED, "  map 0..10 to road")
    assert "label 11" in caught.value.what
    assert "map 11 to" in caught.value.mend


def test_colours_are_mapped(tmp_path: Path) -> None:
    shown = np.array([(0x80, 0x40, 0x80), (0xF4, 0x23, 0xE8), (0, 0, 0)], np.uint8)
    expected = [(1, 0, UNLABELLED)[v % 3] for v in STORED.flat]
    statements = "  map #804080 to road, #f423E8 to background\n  map others to ignored"
    assert labels(tmp_path, shown[STORED % 3], statements).flatten().tolist() == expected
    # A palette shows colours too, and full opacity changes nothing.
    assert labels(tmp_path, STORED % 3, statements, palette=shown.tobytes()).flatten().tolist() == expected
    opaque = np.concatenate([shown[STORED % 3], np.full((6, 8, 1), 255, np.uint8)], axis=-1)
    assert labels(tmp_path, opaque, statements).flatten().tolist() == expected
    with pytest.raises(errors.LabelOutOfRange, match="colour #F423E8"):
        labels(tmp_path, shown[STORED % 3], "  map #804080 to road, #000000 to ignored")


def test_greys_are_colours(tmp_path: Path) -> None:
    found = labels(tmp_path, STORED % 2 * np.uint8(255), "  map #FFFFFF to road, #000000 to background")
    assert found.flatten().tolist() == (STORED % 2).flatten().tolist()


def test_a_grey_palette_in_another_order_is_refused_where_both_are_mapped(tmp_path: Path) -> None:
    greys = bytes((1, 1, 1, 0, 0, 0))
    with pytest.raises(errors.AmbiguousPalette):
        labels(tmp_path, STORED % 2, "  map 1 to road, 0 to background", palette=greys)
    assert labels(tmp_path, STORED % 2, "  map #010101 to road, #000000 to background", palette=greys).sum() == sum(
        1 - STORED.flatten() % 2
    )


def test_classes_from_one_are_mended_by_a_map(tmp_path: Path) -> None:
    with pytest.raises(errors.LabelOutOfRange, match="classes are 0 to 1") as caught:
        labels(tmp_path, STORED % 2 + 1, "")
    assert "numbered from 1" in caught.value.mend


def stepped(
    folder: Path, steps: tuple[Step, ...], sides: tuple[int, int], image: np.ndarray = IMAGE
) -> tuple[torch.Tensor, torch.Tensor, str]:
    """Image, labels and remark of a data set that is brought to size."""
    for name, array in (("images", image), ("masks", STORED % 2)):
        (folder / name).mkdir(exist_ok=True)
        np.save(folder / name / "a.npy", array)
    described = Model((3, *sides), Fraction(0), Fraction(1), (2, *sides), ("a", "b"))
    dataset = open_dataset(Data("d", "images/*", "masks/*", steps=steps), described, folder)
    (batch,) = dataset.batches(1)
    assert batch.labels is not None
    (note,) = dataset.remarks
    return batch.images[0], batch.labels[0], note.text


def test_a_crop_in_the_middle_and_elsewhere(tmp_path: Path) -> None:
    for step, row, column in ((Crop(3, 5), 1, 1), (Crop(3, 5, 2, 3), 2, 3), (Crop(3, 5, 3, 0), 3, 0)):
        image, found, note = stepped(tmp_path, (step,), (3, 5))
        window = IMAGE[row : row + 3, column : column + 5].astype(np.float32)
        assert np.allclose(image.permute(1, 2, 0), window / 255, atol=1e-7)
        assert np.array_equal(found, STORED[row : row + 3, column : column + 5] % 2)
        assert "crop to 3 x 5" in note
        assert "6 x 8" in note


def test_nearest_takes_the_pixel_under_the_centre(tmp_path: Path) -> None:
    image, found, _ = stepped(tmp_path, (Resize(4, 5, "nearest"),), (4, 5))
    rows = [int((k + Fraction(1, 2)) * 6 / 4) for k in range(4)]
    columns = [int((k + Fraction(1, 2)) * 8 / 5) for k in range(5)]
    assert np.array_equal(found, STORED[np.ix_(rows, columns)] % 2)
    assert np.allclose(image.permute(1, 2, 0), IMAGE[np.ix_(rows, columns)].astype(np.float32) / 255, atol=1e-7)


def test_bilinear_is_pillows_for_colour_images(tmp_path: Path) -> None:
    image, _, note = stepped(tmp_path, (Resize(12, 4, "bilinear"), Crop(2, 4)), (2, 4))
    expected = np.asarray(Image.fromarray(IMAGE).resize((4, 12), Image.Resampling.BILINEAR))[5:7]
    assert np.array_equal((image.permute(1, 2, 0) * 255).round(), expected)
    assert "budgets and radii are about the result" in note


def test_steps_that_an_image_does_not_admit(tmp_path: Path) -> None:
    for steps, image in (
        ((Crop(7, 5),), IMAGE),
        ((Crop(3, 5, 4, 0),), IMAGE),
        ((Resize(3, 5, "bilinear"),), IMAGE / 255),
    ):
        with pytest.raises(errors.StepImpossible):
            stepped(tmp_path, steps, (3, 5), np.asarray(image))
    square = np.zeros((3, 7, 3), np.uint8)
    with pytest.raises(errors.UnsupportedFile, match="can be read as"):
        stepped(tmp_path, (Crop(3, 3),), (3, 3), square)


def test_the_program_records_all_of_it() -> None:
    text = HEAD.format(
        6, 8, "  map 2..4 to road, others to ignored\n  crop [9, 9] at [1, 0]\n  resize [6, 8] by nearest"
    )
    program, _ = compile_text(text)
    assert program is not None
    assert program.data.mapping == (Mapped(2, 4, 1), Mapped(None, None, None))
    assert program.data.steps == (Crop(9, 9, 1, 0), Resize(6, 8, "nearest"))
    assert program.data.ignore == UNLABELLED

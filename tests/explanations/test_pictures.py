"""Colours mean what the legend says, and files have names of their own."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from robspec.explanations import panels, pictures
from robspec.explanations.decision import Decision
from tests.explanations.networks import Linear, Pixelwise, constant, explainer, subject


def test_a_range_becomes_black_to_white() -> None:
    pixels = np.array([[[-1.0, 0.0, 1.0]]], np.float32)
    assert np.asarray(panels.shown(pixels, (-1.0, 1.0)))[0].tolist() == [[0] * 3, [128] * 3, [255] * 3]
    two = np.stack([pixels[0], -pixels[0]])
    assert np.asarray(panels.shown(two, (-1.0, 1.0)))[0].tolist() == [[128] * 3] * 3


def test_a_change_is_grey_where_there_is_none_and_has_its_scale_as_white_and_black() -> None:
    change = np.array([[[0.2, -0.2, 0.0]], [[0.0, 0.0, 0.0]], [[0.1, 0.0, 0.0]]])
    shown = np.asarray(panels.signed(change, 0.2))[0]
    assert shown.tolist() == [[255, 128, 191], [0, 128, 128], [128, 128, 128]]


def test_red_raises_and_blue_lowers() -> None:
    shown = np.asarray(panels.diverging(np.array([[0.5, -0.5, 0.0]]), 0.5))[0]
    assert shown.tolist() == [list(panels.RAISES), list(panels.LOWERS), [255, 255, 255]]


def test_marks_are_where_the_mask_is() -> None:
    page = Image.new("RGB", (4, 4), (0, 0, 0))
    mask = np.array([[True, False], [False, False]])
    seen = np.asarray(panels.marked(page, mask, 1.0))
    assert (seen[:2, :2] == panels.MARK).all()
    assert (seen[2:] == 0).all()
    assert (seen[:, 2:] == 0).all()


def test_pictures_grow_by_whole_multiples_and_shrink_to_fit() -> None:
    assert panels.sized(Image.new("RGB", (64, 48)), 192).size == (192, 144)
    assert panels.sized(Image.new("RGB", (100, 50)), 192).size == (100, 50)
    assert panels.sized(Image.new("RGB", (1000, 500)), 200).size == (200, 100)


def test_sizes_are_rounded_up_to_two_digits() -> None:
    values = [0.0, 0.123, 0.12, 9.99, 1234.0, 3.01e-7]
    assert [pictures.rounded_up(v) for v in values] == [0.0, 0.13, 0.12, 10.0, 1300.0, 3.1e-7]


def test_every_image_has_a_folder_of_its_own() -> None:
    names = ["a/x.png", "b/x.png", "c/X.jpg", "d/..png", "e/ä b.png", "f/" + "n" * 200 + ".png"]
    found = pictures.folder_names(names)
    assert found[:3] == ["x", "x-2", "X-3"]
    assert len({f.lower() for f in found}) == len(names)
    assert all(f and not f.startswith(".") and len(f) <= 83 and f.isascii() for f in found)


def test_a_sheet_holds_cards_of_networks_of_every_kind() -> None:
    """Maps have five panels, one decision per image three, what is not found one; none is cut off."""
    image = torch.linspace(0.1, 0.9, 16).reshape(1, 1, 4, 4)
    module = Linear(torch.cat([torch.zeros(1, 16), torch.ones(1, 16)]), torch.tensor([9.0, 0.0]))
    maps = explainer(Pixelwise(), Decision(1, (0, 2)), constant(), steps=10).explain(subject(image))
    whole = explainer(module, Decision(), constant(4), steps=10).explain(subject(image))
    far = explainer(Linear(torch.zeros(2, 16), torch.tensor([1.0, 0.0])), Decision(), constant(), steps=10).explain(
        subject(image)
    )
    kinds = [[p.stem for p in pictures.drawn(r, (0.0, 1.0))] for r in (maps, whole, far)]
    assert kinds == [["image", "flips", "change", "result", "decided"], ["image", "change", "result"], ["image"]]
    for count in (1, 2, 3, 12):
        page = Image.open(io.BytesIO(pictures.sheet(([maps, whole, far] * 4)[:count], (0.0, 1.0))))
        edge = np.concatenate([np.asarray(page)[[0, -1]].reshape(-1, 3), np.asarray(page)[:, [0, -1]].reshape(-1, 3)])
        assert (edge == 255).all()
        assert page.height > 192 * -(-count // 2)

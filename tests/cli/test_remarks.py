"""Nothing vacuous goes unremarked: every note, in every report format."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from robspec import notes, report
from robspec.data.dataset import open_dataset
from robspec.ir.types import Data, Model
from robspec.verify import run
from robspec.verify.census import Census
from tests.cli.conftest import PROVED, SIDE, Project, Run, export

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "report-json.md"
ACCURATE = PROVED.split("property far")[0]
Mask = npt.NDArray[np.uint8]


def halves(low: int = 0, high: int = 1) -> Mask:
    """The masks of the project."""
    mask = np.full((SIDE, SIDE), low, np.uint8)
    mask[:, SIDE // 2 :] = high
    return mask


def write_masks(project: Project, *masks: Mask, folder: str = "masks") -> None:
    """One for every image, the last one for all that remain."""
    (project.root / folder).mkdir(exist_ok=True)
    for n in range(4):
        Image.fromarray(masks[min(n, len(masks) - 1)]).save(project.root / folder / f"im{n}.png")


def declare(project: Project, line: str) -> None:
    """Add a statement to the data block."""
    text = project.spec.read_text()
    project.spec.write_text(text.replace('masks "masks/*.png"', f'masks "masks/*.png"\n  {line}'))


def checked(project: Project, robspec: Run) -> dict[str, Any]:
    """The remarks of a check by code, and its status."""
    result = robspec("check", project.model, project.spec, "--format", "json")
    assert result.out, result.err
    remarks = json.loads(result.out)["remarks"]
    for remark in remarks:
        assert set(remark) == {"code", "where", "text", "figures"}
        assert f"`{remark['code']}`" in PAGE.read_text()
        assert all(f"`{name}`" in PAGE.read_text() for name in remark["figures"])
    return {"status": result.status, **{r["code"]: r for r in remarks}}


def test_a_sound_check_has_none(project: Project, robspec: Run) -> None:
    assert checked(project, robspec) == {"status": 0}


def test_a_class_without_pixels_and_the_share_ignored(project: Project, robspec: Run) -> None:
    write_masks(project, halves(0, 255))
    declare(project, "ignore 255")
    found = checked(project, robspec)
    assert found["class-without-pixels"]["text"] == "class bright has no annotated pixel in 4 images"
    assert found["class-without-pixels"]["figures"] == {"classes": ["bright"], "images": 4}
    assert found["pixels-ignored"]["text"] == "50 % of the pixels are ignored (label 255)"
    assert found["pixels-ignored"]["figures"]["share"]["exact"] == "1/2"
    assert "one-class-predicted" not in found


def test_images_of_which_nothing_counts(project: Project, robspec: Run) -> None:
    write_masks(project, halves(255, 255), halves())
    declare(project, "ignore 255")
    found = checked(project, robspec)
    assert found["image-ignored"]["figures"]["images"] == ["images/im0.png"]
    assert found["metric-undefined"]["figures"]["images"] == ["images/im0.png"]
    write_masks(project, halves(255, 255))
    found = checked(project, robspec)
    assert found["status"] == 3
    assert len(found["image-ignored"]["figures"]["images"]) == 4
    assert "nothing is left to judge" in found["metric-undefined"]["text"]
    assert found["class-without-pixels"]["figures"]["classes"] == ["dark", "bright"]


def test_pixels_outside_the_region(project: Project, robspec: Run) -> None:
    project.write_spec(ACCURATE.replace("metric pixel_accuracy", "metric pixel_accuracy in region"))
    declare(project, 'region "region/*.png"')
    outside = np.zeros((SIDE, SIDE), np.uint8)
    inside = outside.copy()
    inside[:2, :4] = 7
    write_masks(project, inside, inside, inside, outside, folder="region")
    found = checked(project, robspec)
    share = found["pixels-not-counted"]
    assert (share["where"], share["figures"]["share"]["exact"]) == ("property accurate", "29/32")
    assert share["text"] == "90.6 % of the annotated pixels do not count, being outside the region"
    assert found["class-not-counted"]["figures"]["classes"] == ["bright"]
    assert found["image-not-counted"]["figures"]["images"] == ["images/im3.png"]
    assert found["metric-undefined"]["figures"]["images"] == ["images/im3.png"]


def test_weights_of_nothing(project: Project, robspec: Run) -> None:
    project.write_spec(ACCURATE.replace("metric pixel_accuracy", "metric weighted pixel_accuracy"))
    declare(project, 'weights "weights/*.png"')
    write_masks(project, halves(), np.zeros((SIDE, SIDE), np.uint8), folder="weights")
    found = checked(project, robspec)
    assert "87.5 % of the annotated pixels do not count, being of weight 0" in found["pixels-not-counted"]["text"]
    assert len(found["image-not-counted"]["figures"]["images"]) == 3
    assert found["class-not-counted"]["figures"]["classes"] == ["dark"]


def test_pixels_of_other_classes_do_not_count(project: Project, robspec: Run) -> None:
    project.write_spec(ACCURATE.replace("metric pixel_accuracy", "metric pixel_accuracy in [bright]"))
    found = checked(project, robspec)
    assert "being outside [bright]" in found["pixels-not-counted"]["text"]
    assert "class-not-counted" not in found


@pytest.mark.parametrize("metric", ["specificity[bright]", "mean_iou[bright, dark]", "pooled specificity[bright]"])
def test_a_metric_of_a_class_that_is_nowhere(project: Project, robspec: Run, metric: str) -> None:
    """Met, because no image has the class."""
    require = "worst_case >= 0.2" if "pooled" in metric else "mean(worst_case) >= 0.2"
    project.write_spec(f"property p {{\n  metric {metric}\n  norm l2\n  budget 0.01\n  require {require}\n}}\n")
    write_masks(project, halves(0, 0))
    found = checked(project, robspec)
    assert found["class-asked-for-is-nowhere"]["where"] == "property p"
    assert found["class-asked-for-is-nowhere"]["figures"]["classes"] == ["bright"]


def test_a_model_that_says_one_thing(project: Project, robspec: Run, tmp_path: Path) -> None:
    class One(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.cat([image[:, :1] + 5, image[:, :1]], 1)

    class Nothing(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.cat([image[:, :1] * 0, image[:, :1] * 0 + 1], 1)

    project.write_spec(ACCURATE.replace("0.5", "0.1"), claim="9")
    for model, name in ((One(), "dark"), (Nothing(), "bright")):
        path = export(model, tmp_path / "one.pt2")
        found = checked(replace(project, model=path), robspec)
        assert found["one-class-predicted"]["figures"]["class"] == name
    assert found["model-is-constant"]["where"] == "property accurate"


def test_budgets_of_zero_and_radii_without_end(project: Project, robspec: Run) -> None:
    project.write_spec(PROVED.replace("budget 0.1", "budget 0").replace("h <= 0.25", "h < 0"))
    found = checked(project, robspec)
    assert found["budget-is-zero"]["where"] == "property accurate"
    assert len(found["radius-infinite"]["figures"]["images"]) == 4


def test_a_requirement_that_always_holds(project: Project, robspec: Run) -> None:
    project.write_spec(ACCURATE.replace(">= 0.5", ">= 0"))
    found = checked(project, robspec)["specification-warning"]
    assert found["where"] == f"{project.spec}:17"
    assert found["figures"] == {"code": "W0103"}


class TestCopies:
    """The same pixels in another file, of another format, under another name."""

    def copy(self, project: Project) -> None:
        image = np.asarray(Image.open(project.root / "images/im0.png"))
        np.save(project.root / "images/im1.npy", image)
        (project.root / "images/im1.png").unlink()
        project.spec.write_text(project.spec.read_text().replace("images/*.png", "images/*"))

    def test_are_noted(self, project: Project, robspec: Run) -> None:
        self.copy(project)
        found = checked(project, robspec)["images-repeated"]
        assert found["text"] == "of 4 images, 1 is a copy of another: images/im0.png = images/im1.npy"
        assert found["figures"] == {"copies": 1, "images": ["images/im1.npy"]}
        for n in (2, 3):
            (project.root / f"images/im{n}.png").unlink()
        assert "all images hold the same pixels" in checked(project, robspec)["images-repeated"]["text"]
        (project.root / "images/im1.npy").unlink()
        assert checked(project, robspec)["one-image"]["figures"] == {"images": 1}

    @pytest.mark.parametrize("require", ["mean(worst_case) >= 0.1", "worst_case >= 0.1 for 1% of images"])
    def test_are_refused_in_a_claim_with_confidence(self, project: Project, robspec: Run, require: str) -> None:
        confident = ACCURATE.replace("mean(worst_case) >= 0.5", f"{require} with confidence 60%")
        project.write_spec(confident)
        assert "error" not in robspec("check", project.model, project.spec).err
        certificate = project.root / "c.json"
        robspec("check", project.model, project.spec, "--certificate", certificate)
        self.copy(project)
        result = robspec("check", project.model, project.spec)
        assert result.status == 2
        assert "E0407" in result.err
        assert "images/im1.npy" in result.err
        assert "images/im0.png" in result.err


def test_recheck_refuses_copies_too(project: Project, robspec: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate of the claim could be written by other means."""
    project.write_spec(ACCURATE.replace(">= 0.5", ">= 0.1 with confidence 60%"))
    Image.open(project.root / "images/im0.png").save(project.root / "images/im1.png", compress_level=0)
    monkeypatch.setattr(Census, "_refuse", lambda *_: None)
    certificate = project.root / "c.json"
    robspec("check", project.model, project.spec, "--certificate", certificate)
    result = robspec("recheck", certificate, project.model, project.spec)
    assert result.status == 1
    assert "same pixels" in result.err


class TestTrainedOn:
    """A card beside the model names what it learned from."""

    def card(self, project: Project, path: Path, **changes: object) -> dict[str, Any]:
        shape = (3, SIDE, SIDE)
        described = Model(shape, Fraction(0), Fraction(1), (2, SIDE, SIDE), ("dark", "bright"))
        data = open_dataset(Data("t", "images/im[02].png", "masks/*.png"), described, project.root)
        images = dict(data.contents(Fraction(0), Fraction(1)))
        content: dict[str, Any] = {
            "model": {"sha256": hashlib.sha256(project.model.read_bytes()).hexdigest()},
            "data": {"training": "", "trained_on": {"range": ["0", "1"], "images": images}},
        }
        content |= changes
        path.write_text(json.dumps(content))
        return content

    @pytest.mark.parametrize("name", ["card.json", "own.json"])
    @pytest.mark.parametrize("high", ["1", "255"])
    def test_is_noted(self, project: Project, robspec: Run, name: str, high: str) -> None:
        model = project.root / "own.pt2"
        model.write_bytes(project.model.read_bytes())
        project = replace(project, model=model)
        if high != "1":
            project.spec.write_text(project.spec.read_text().replace("in [0, 1]", f"in [0, {high}]"))
        self.card(project, project.root / name)
        found = checked(project, robspec)["trained-on"]
        assert found["figures"]["images"] == ["images/im0.png", "images/im2.png"]
        assert found["figures"]["share"]["exact"] == "1/2"
        assert found["text"].startswith(f"2 of 4 images were trained on, says {name}")

    def test_a_card_of_another_model_or_none(self, project: Project, robspec: Run) -> None:
        model = project.root / "own.pt2"
        model.write_bytes(project.model.read_bytes())
        project = replace(project, model=model)
        path = project.root / "card.json"
        for text in ("", "[" * 100_000, "[]", "{}", '{"model": 1}', json.dumps({"model": {"sha256": "0"}})):
            path.write_text(text)
            assert "trained-on" not in checked(project, robspec)
        self.card(project, path, data={"trained_on": {"range": ["0", "0"], "images": {}}})
        assert "trained-on" not in checked(project, robspec)

    def test_a_card_that_names_the_whole_set(self, project: Project, robspec: Run) -> None:
        """As those written before the images were named one by one."""
        model = project.root / "own.pt2"
        model.write_bytes(project.model.read_bytes())
        project = replace(project, model=model)
        result = robspec("check", project.model, project.spec, "--format", "json")
        self.card(project, project.root / "card.json", data={"training": json.loads(result.out)["sha256"]["data"]})
        assert len(checked(project, robspec)["trained-on"]["figures"]["images"]) == 4


def test_every_format_shows_every_note(
    project: Project, robspec: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A format that hid one would pass off a vacuous proof as a proof."""
    planted = tuple(notes.Note(f"planted-{n}", f"place {n}", f"something {n} to know", {"n": n}) for n in range(3))
    monkeypatch.setattr(run, "remarks", lambda *_: planted)
    for name in report.formats():
        result = robspec("check", project.model, project.spec, "--format", name)
        text = re.sub(r"\s+", " ", result.out)
        for note in planted:
            assert note.text in text, name
            assert note.where in text, name
            assert name != "json" or note.code in text


def test_the_page_lists_the_fields_of_a_note() -> None:
    text = PAGE.read_text()
    assert all(f"`{f.name}`" in text for f in fields(notes.Note))


@pytest.mark.parametrize(
    ("exact", "shown"),
    [("0", "0 %"), ("1/100000", "less than 0.1 %"), ("3/8", "37.5 %"), ("99999/100000", "99.9 %"), ("1", "100 %")],
)
def test_shares_are_never_rounded_to_all_or_nothing(exact: str, shown: str) -> None:
    assert notes.percent(Fraction(exact)) == shown

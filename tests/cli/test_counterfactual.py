"""`robspec counterfactual` from a model file to pictures: what is printed, written and refused."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robspec.explanations.explain import Explained, Explainer, Subject
from robspec.models.loading import load
from tests.cli.conftest import SIDE, Brightness, Project, Run, export

BODY = """
property harmed {
  metric pixel_accuracy
  norm l2
  degraded when h <= 0.9
  require radius >= 0.1 for all images
}
property worst {
  metric pixel_accuracy
  norm l2
  budget 0.1
  require mean(worst_case) >= 0.5
  require worst_case >= 0.8 for all images
}
property swept {
  metric pixel_accuracy
  norm l2
  degraded when h <= 0.5 to 0.8 points 3
  require radius >= 0.1 for all images
}
"""


def image(project: Project, k: int = 0) -> Path:
    return project.root / "images" / f"im{k}.png"


def ask(project: Project, robspec: Run, *options: object, images: tuple[int, ...] = (0,)) -> tuple[int, dict, str]:
    project.write_spec(BODY)
    names = [image(project, k) for k in images]
    asked = ("--spec", project.spec, "--format", "json", "--steps", 20, *options)
    result = robspec("counterfactual", project.model, *names, *asked)
    return result.status, json.loads(result.out) if result.out else {}, result.err


def test_the_lower_bound_is_the_radius_of_check_and_the_find_is_evaluated_as_stored(
    project: Project, robspec: Run, tmp_path: Path
) -> None:
    status, found, err = ask(project, robspec, "--property", "harmed", "--output", tmp_path / "why", images=(0, 3))
    assert status == 0, err
    checked = robspec("check", project.model, project.spec, "--arithmetic", "exact", "--format", "json")
    (prop,) = [p for p in json.loads(checked.out)["properties"] if p["name"] == "harmed"]
    radii = {Path(i["image"]).name: Fraction(i["certified"][0]["exact"]) for i in prop["images"]}
    model = load(project.model)
    for entry in found["images"]:
        name = Path(entry["image"]).name
        lower, distance, q = (Fraction(entry[key]["exact"]) for key in ("lower", "distance", "q"))
        # In float64 the logits, and with them the bound, differ by rounding.
        assert lower <= radii[name] <= lower * (1 + Fraction(1, 10**5))
        assert q == lower / distance
        # A map that shifts every pixel by itself: the nearest is where the bound says.
        assert 0.99 < q <= 1
        pixels = np.load(tmp_path / "why" / entry["folder"] / "counterfactual.npy", allow_pickle=False)
        clean = np.asarray(Image.open(entry["image"])).transpose(2, 0, 1).astype(np.float32) / 255
        exact = sum(
            (Fraction(float(a)) - Fraction(float(b))) ** 2 for a, b in zip(pixels.flat, clean.flat, strict=True)
        )
        assert exact <= distance**2 <= exact * (1 + Fraction(1, 10**9))
        mask = np.asarray(Image.open(entry["image"].replace("images", "masks")))
        for run in (model, model.in_double()):
            right = (run.logits(torch.from_numpy(pixels)[None]).argmax(1)[0].numpy() == mask).sum()
            assert Fraction(int(right), SIDE * SIDE) <= Fraction("0.9")
        assert entry["pixels_the_bound_flips"] >= entry["pixels_flipped"] > 0
    assert set(found["ratios"]) == {"median", "worst"}
    assert found["constant"]["status"] == "proved"
    assert json.loads((tmp_path / "why" / "counterfactual.json").read_text()) == found


def test_pictures_say_their_scale_and_are_rounded_views(project: Project, robspec: Run, tmp_path: Path) -> None:
    project.write_spec(BODY)
    result = robspec(
        "counterfactual", project.model, image(project), "--spec", project.spec, "--property", "worst",
        "--output", tmp_path / "why", "--sheet", tmp_path / "sheet.png",
    )  # fmt: skip
    assert result.status == 0, result.err
    folder = tmp_path / "why" / "im0"
    names = {"change.png", "counterfactual.npy", "decided.png", "flips.png", "image.png", "result.png"}
    assert {p.name for p in folder.iterdir()} == names
    entry = json.loads((tmp_path / "why" / "counterfactual.json").read_text())["images"][0]
    scale = entry["change_scale"]
    assert f"change: white +{scale:g}, black -{scale:g}" in result.out
    assert f"white: +{scale:g}" in Image.open(folder / "change.png").text["Description"]
    pixels = np.load(folder / "counterfactual.npy", allow_pickle=False)
    clean = np.asarray(Image.open(image(project))).transpose(2, 0, 1).astype(np.float32) / 255
    assert 0.9 * scale < np.abs(pixels - clean).max() <= scale
    shown = np.asarray(Image.open(folder / "result.png")).transpose(2, 0, 1)
    assert np.abs(shown / 255.0 - pixels).max() <= 0.5 / 255 + 1e-6
    assert np.array_equal(np.asarray(Image.open(folder / "image.png")), np.asarray(Image.open(image(project))))
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert min(sheet.size) > 192


def test_the_first_requirement_of_single_images_is_meant_unless_another_is_named(
    project: Project, robspec: Run
) -> None:
    assert ask(project, robspec, "--property", "worst")[1]["images"][0]["question"] == "pixel_accuracy < 0.8"
    named = ask(project, robspec, "--property", "worst", "--requirement", 1)[1]
    assert named["images"][0]["question"] == "pixel_accuracy < 0.5"
    assert ask(project, robspec, "--property", "swept", "--point", 3)[1]["images"][0]["question"].endswith("<= 0.8")


def test_a_decision_at_a_pixel_by_name_and_by_number(project: Project, robspec: Run) -> None:
    _, named, _ = ask(project, robspec, "--to", "bright", "--pixel", "1,1")
    assert named["images"][0]["question"] == "the decision bright at pixel 1,1"
    plain = robspec("counterfactual", project.model, image(project), "--to", 1, "--pixel", "1,1", "--format", "json")
    found = json.loads(plain.out)
    assert found["images"][0]["question"] == "the decision class 1 at pixel 1,1"
    assert found["images"][0]["distance"] == named["images"][0]["distance"]
    clean = np.asarray(Image.open(image(project)))[1, 1].astype(np.float64) / 255
    true = (1.5 - clean.sum()) / 3**0.5
    assert found["images"][0]["lower"]["approx"] <= true <= found["images"][0]["distance"]["approx"] < 1.001 * true


def test_none_within_the_range_is_status_3(project: Project, robspec: Run) -> None:
    result = robspec("counterfactual", project.model, image(project), "--to", 1, "--pixel", "1,1", "--range", "0,0.3")
    assert result.status == 3, result.err
    assert "no image with the decision class 1 at pixel 1,1 was found; none within" in result.out


def test_an_image_that_is_its_own_counterfactual_is_status_2_and_the_others_are_explained(
    project: Project, robspec: Run
) -> None:
    project.write_spec(BODY.replace("0.9", "0.99"))
    asked = ("--spec", project.spec, "--property", "harmed")
    alone = robspec("counterfactual", project.model, image(project, 3), *asked)
    assert (alone.status, "E0851" in alone.err, alone.out) == (2, True, "")
    both = robspec("counterfactual", project.model, image(project, 3), image(project, 0), *asked, "--format", "json")
    assert (both.status, "E0851" in both.err) == (2, True)
    found = json.loads(both.out)
    assert [Path(i["image"]).name for i in found["images"]] == ["im0.png"]
    assert [f["code"] for f in found["failed"]] == ["E0851"]


def test_a_pattern_stands_for_its_files(project: Project, robspec: Run) -> None:
    project.write_spec(BODY)
    result = robspec(
        "counterfactual", project.model, project.root / "images" / "im[01].png", "--spec", project.spec,
        "--property", "harmed", "--steps", 20,
    )  # fmt: skip
    assert result.status == 0, result.err
    assert [line.split(":")[0][-7:] for line in result.out.splitlines() if ".png" in line] == ["im0.png", "im1.png"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--property", "harmed"], "E0601"),
        (["--data", "."], "E0601"),
        (["--set", "eps=1"], "E0601"),
        (["--point", "1"], "E0601"),
        (["--range", "1,0"], "E0601"),
        (["--range", "0"], "E0601"),
        (["--pixel", "1"], "E0601"),
        (["--pixel", "9,9"], "E0852"),
        (["--pixel", "1,1", "--to", "2"], "E0852"),
        (["--pixel", "1,1", "--to", "bright"], "E0852"),
        (["--to", "1"], "E0852"),
        ([], "E0852"),
        (["--pixel", "1,1", "--output", "full"], "E0602"),
        (["--pixel", "1,1", "--sheet", "none/x.png"], "E0602"),
        (["--pixel", "1,1", "--sheet", "x.jpg"], "E0601"),
    ],
)
def test_options_without_meaning_are_refused(
    options: list[str], code: str, project: Project, robspec: Run, tmp_path: Path
) -> None:
    (tmp_path / "cwd" / "full").mkdir(parents=True)
    (tmp_path / "cwd" / "full" / "x").touch()
    result = robspec("counterfactual", project.model, image(project), *options)
    assert (result.status, f"error[{code}]" in result.err, result.out) == (2, True, ""), result.err


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--property", "harme"], "E0601"),
        (["--property", "harmed", "--to", "bright"], "E0601"),
        (["--property", "harmed", "--pixel", "1,1"], "E0601"),
        (["--property", "harmed", "--requirement", "1"], "E0601"),
        (["--property", "worst", "--requirement", "3"], "E0601"),
        (["--property", "worst", "--point", "1"], "E0601"),
        (["--property", "swept", "--point", "4"], "E0601"),
        (["--pixel", "1,1", "--range", "0,1"], "E0601"),
        (["--pixel", "1,1", "--requirement", "1"], "E0601"),
        (["--pixel", "1,1", "--to", "brihgt"], "E0852"),
    ],
)
def test_options_beside_a_specification(options: list[str], code: str, project: Project, robspec: Run) -> None:
    status, found, err = ask(project, robspec, *options)
    assert (status, f"error[{code}]" in err, found) == (2, True, {}), err


def test_a_score_decides_nothing(project: Project, robspec: Run) -> None:
    project.spec.write_text(
        f"""language 1
model {{
  input image [3, {SIDE}, {SIDE}] in [0, 1]
  output score [1]
  annotation dark | bright
}}
data d {{
  images "images/*.png"
  labels by folder
}}
property ranked {{
  metric auroc
  norm l2
  attack both
  degraded when h <= 0.5
  require radius >= 0.1
}}
"""
    )
    asked = robspec("counterfactual", project.model, image(project), "--spec", project.spec)
    assert (asked.status, asked.out) == (2, "")
    assert "error[E0852]" in asked.err
    assert "decides nothing by itself" in asked.err


def test_images_that_cannot_be_asked_about(project: Project, robspec: Run, tmp_path: Path) -> None:
    small = tmp_path / "small.png"
    Image.new("RGB", (4, 4)).save(small)
    missing = robspec("counterfactual", project.model, tmp_path / "none.png", "--pixel", "1,1")
    assert (missing.status, "E0305" in missing.err) == (2, True)
    wrong = robspec("counterfactual", project.model, small, "--pixel", "1,1")
    assert (wrong.status, "E0307" in wrong.err) == (2, True)
    project.write_spec(BODY)
    foreign = robspec("counterfactual", project.model, small, "--spec", project.spec, "--property", "harmed")
    assert (foreign.status, "E0853" in foreign.err) == (2, True)
    many = [image(project)] * 13
    for k in range(13):
        many[k] = tmp_path / f"{k}.png"
        Image.new("RGB", (SIDE, SIDE)).save(many[k])
    sheet = robspec("counterfactual", project.model, *many, "--pixel", "1,1", "--sheet", tmp_path / "s.png")
    assert (sheet.status, "a sheet holds 12 images" in sheet.err) == (2, True)


def test_an_assumed_constant_is_said_to_be_assumed(project: Project, robspec: Run) -> None:
    class Product(torch.nn.Module):
        """A product of two tensors that depend on the image: no constant can be proved."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            s = x.sum(1, keepdim=True)
            return torch.cat([s * s, 2.25 + 0 * s], 1)

    model = export(Product(), project.root / "product.pt2")
    asked = ("counterfactual", model, image(project), "--pixel", "1,1")
    assert "E0403" in robspec(*asked).err
    result = robspec(*asked, "--assume-lipschitz", "20")
    assert result.status == 0, result.err
    assert "ASSUMED, not proved, and with it every lower bound and q" in result.out
    assert ": proved, assuming L <= 20 (not proved); q = " in result.out
    alarm = robspec(*asked, "--assume-lipschitz", "0.1")
    assert (alarm.status, "E0901" in alarm.err, "assume a larger one" in alarm.err) == (4, True, True)


def test_maps_of_a_model_and_of_one_beside_it(project: Project, robspec: Run, tmp_path: Path) -> None:
    twin = export(Brightness(-0.2), project.root / "twin.pt2")
    status, found, err = ask(
        project, robspec, "--property", "harmed", "--attribution", "gradient", "--attribution", "integrated",
        "--beside", twin, "--output", tmp_path / "why", "--steps", 12,
    )  # fmt: skip
    assert status == 0, err
    maps = found["images"][0]["attributions"]
    assert [(m["method"], m["model"] == str(twin)) for m in maps] == [
        ("gradient", False), ("gradient", True), ("integrated", False), ("integrated", True),
    ]  # fmt: skip
    folder = tmp_path / "why" / "im0"
    ours, theirs = (np.load(folder / m["file"], allow_pickle=False) for m in maps[:2])
    assert np.allclose(theirs, ours * -0.2 * 6**0.5, atol=1e-5)
    # Margins that are sums over pixels are gone when the pixels are, in this order sooner than half way.
    assert 0 < maps[0]["deletion"] < 0.2
    assert 0.8 < maps[0]["insertion"] < 1
    stems = {"gradient", "gradient-beside", "integrated", "integrated-beside"}
    assert {f"attribution-{s}.{kind}" for s in stems for kind in ("png", "npy")} < {p.name for p in folder.iterdir()}
    assert "per unit of the input" in Image.open(folder / "attribution-gradient.png").text["Description"]
    assert (folder / "attributions.png").is_file()


def test_maps_that_cannot_be_made_are_refused_before_any_work(
    project: Project, robspec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("counterfactual", project.model, image(project), "--pixel", "1,1")
    assert "E0601" in robspec(*asked, "--beside", project.model).err
    small = export(Brightness(), tmp_path / "small.pt2", side=4)
    refused = robspec(*asked, "--attribution", "gradient", "--beside", small)
    assert (refused.status, "E0601" in refused.err, "same shapes" in refused.err) == (2, True, True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    missing = robspec(*asked, "--attribution", "gradient")
    assert (missing.status, "E0854" in missing.err) == (2, True)


def test_a_signal_keeps_what_is_finished(project: Project, robspec: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, asked = Explainer.explain, []

    def explain(self: Explainer, subject: Subject, progress: Callable[[float], None]) -> Explained:
        asked.append(subject.name)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return whole(self, subject, progress)

    monkeypatch.setattr(Explainer, "explain", explain)
    status, found, err = ask(project, robspec, "--to", "bright", "--pixel", "1,1", images=(0, 1, 2))
    assert (status, len(found["images"]), "interrupted after 1 of 3 images" in err) == (130, 1, True)

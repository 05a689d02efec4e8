"""Several data sets in one specification: each property is answered on its own images, as if it stood alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import robspec as package
from tests.cli.conftest import SIDE, SPEC, Project, Run

ACCURATE = """property {name} {{
{use}  metric pixel_accuracy
  norm l2
  budget 0.1
  require mean(worst_case) >= 0.5
}}
"""
BLOCK = 'data {0} {{\n  images "{0}/images/*.png"\n  masks "{0}/masks/*.png"\n}}\n'


def split(project: Project) -> None:
    """Two images by day, three by night whose masks are wrong in a row of pixels."""
    for name, chosen in (("day", (0, 1)), ("night", (0, 2, 3))):
        for k in chosen:
            for kind in ("images", "masks"):
                (project.root / name / kind).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(project.root / kind / f"im{k}.png", project.root / name / kind / f"im{k}.png")
    wrong = np.zeros((SIDE, SIDE), np.uint8)
    wrong[1:, SIDE // 2 :] = 1
    Image.fromarray(wrong).save(project.root / "night" / "masks" / "im2.png")


@pytest.fixture
def spec(project: Project) -> Path:
    split(project)
    text = (
        SPEC.format(claim="1.0001", properties="").split("data val")[0] + BLOCK.format("day") + BLOCK.format("night")
    )
    own = ACCURATE.format(name="at_night", use="  use night\n")
    project.spec.write_text(text + ACCURATE.format(name="by_day", use="") + own + "use day\n")
    return project.spec


def report(robspec: Run, *options: object) -> dict[str, Any]:
    result = robspec("check", *options, "--format", "json")
    assert result.status in (0, 1, 3), result.err
    return json.loads(result.out)


def alone(project: Project, robspec: Run, name: str) -> list[dict[str, Any]]:
    """What a specification of that data set alone finds."""
    text = SPEC.format(claim="1.0001", properties="").split("data val")[0] + BLOCK.format(name)
    path = project.root / f"{name}.rspec"
    path.write_text(text + ACCURATE.format(name="p", use=""))
    return report(robspec, project.model, path)["properties"][0]["images"]


def test_each_property_is_answered_on_its_own_images(project: Project, spec: Path, robspec: Run) -> None:
    found = report(robspec, project.model, spec)
    day, night = found["properties"]
    assert day["images"] == alone(project, robspec, "day")
    assert night["images"] == alone(project, robspec, "night")
    assert [p["data"]["name"] for p in found["properties"]] == ["day", "night"]
    assert [p["data"]["images"] for p in found["properties"]] == [2, 3]
    assert found["images"] == {"total": 5, "evaluated": 5}
    assert len(found["claims"]) == 1
    text = robspec("check", project.model, spec)
    assert text.status == 0
    assert "at_night on night" in text.out
    assert "3/3" in text.out


def test_use_takes_the_place_of_what_the_file_says(project: Project, spec: Path, robspec: Run) -> None:
    found = report(robspec, project.model, spec, "--use", "night")
    assert [p["name"] for p in found["properties"]] == ["by_day", "at_night"]
    assert found["properties"][0]["images"] == alone(project, robspec, "night")
    found = report(robspec, project.model, spec, "--use", "day")
    assert [p["name"] for p in found["properties"]] == ["by_day"]
    assert {r["code"]: r["figures"]["properties"] for r in found["remarks"] if r["code"] == "property-left-out"} == {
        "property-left-out": ["at_night"]
    }
    wrong = robspec("check", project.model, spec, "--use", "nigth")
    assert wrong.status == 2
    assert "E0013" in wrong.err
    assert "did you mean `night`" in wrong.err


def test_a_block_that_no_property_is_about(project: Project, spec: Path, robspec: Run) -> None:
    text = spec.read_text().replace("use day\n", "")
    spec.write_text(text.replace("property by_day {", "property by_day {\n  use night"))
    assert len(report(robspec, project.model, spec)["properties"]) == 2
    wrong = robspec("check", project.model, spec, "--use", "day")
    assert (wrong.status, "no property is about `day`" in wrong.err) == (2, True)


def test_a_certificate_is_of_one_data_set_and_is_confirmed_of_it_alone(
    project: Project, spec: Path, robspec: Run
) -> None:
    certificate = project.root / "c.json"
    both = robspec("check", project.model, spec, "--certificate", certificate)
    assert (both.status, "--use day" in both.err) == (2, True)
    assert robspec("check", project.model, spec, "--use", "night", "--certificate", certificate).status == 0
    assert json.loads(certificate.read_text())["inputs"]["data"] == "night"
    asked = robspec("recheck", certificate, project.model, spec, "--use", "night")
    assert asked.status == 0, asked.err
    for other in ((), ("--use", "day")):
        refused = robspec("recheck", certificate, project.model, spec, *other)
        assert refused.status == 1, refused.err
        assert "--use night" in " ".join(refused.err.split())


def test_a_forged_data_set_is_found_out(project: Project, spec: Path, robspec: Run) -> None:
    from robspec.recheck import document

    certificate = project.root / "c.json"
    assert robspec("check", project.model, spec, "--use", "day", "--certificate", certificate).status == 0
    content = json.loads(certificate.read_text())
    content["inputs"]["data"] = "night"
    certificate.write_text(document.dumps(content))
    assert robspec("recheck", certificate, project.model, spec, "--use", "night").status == 1


def test_an_attack_is_replayed_on_its_own_data_set(project: Project, spec: Path, robspec: Run) -> None:
    spec.write_text(spec.read_text().replace("budget 0.1", "budget 3").replace(">= 0.5", ">= 0.9"))
    folder = project.root / "out"
    assert robspec("check", project.model, spec, "--attack", 5, "--witness-dir", folder).status == 1
    again = robspec("replay", folder / "at_night.witness.json", project.model, spec)
    assert again.status == 0, again.out
    assert "not the files" not in again.err


def test_an_interruption_keeps_what_is_done_and_names_the_rest(
    project: Project, spec: Path, robspec: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robspec.models.loading import LoadedModel

    def stopped(model: LoadedModel, images: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(LoadedModel, "logits", stopped)
    result = robspec("check", project.model, spec, "--format", "json", "--no-store")
    assert result.status == 130
    found = json.loads(result.out)
    assert found["images"] == {"total": 5, "evaluated": 0}
    assert [r["where"] for r in found["remarks"] if r["code"] == "data-not-reached"] == ["data night"]


def test_counterfactuals_of_a_property_come_from_its_data(project: Project, spec: Path, robspec: Run) -> None:
    asked = ("--spec", spec, "--property", "at_night", "--steps", 5)
    night = robspec("counterfactual", project.model, project.root / "night" / "images" / "im3.png", *asked)
    assert night.status in (0, 3), night.err
    day = robspec("counterfactual", project.model, project.root / "day" / "images" / "im0.png", *asked)
    assert (day.status, "E0853" in day.err) == (2, True)


def test_data_from_python_takes_the_place_of_the_block_that_is_used(project: Project, spec: Path) -> None:
    text = spec.read_text().replace('masks "night/masks/*.png"', 'masks "night/masks/*.png"\n  ignore 7')
    text = text.replace("use day", "use night").replace("  use night\n  metric", "  metric")
    items = [(torch.full((3, SIDE, SIDE), 0.9), torch.full((SIDE, SIDE), k)) for k in (1, 7)]
    found = package.check(project.model, text, data=items)
    assert found.program.data.name == "night"
    assert found.program.data.ignore == 7
    assert [i.clean for i in found.properties[0].images] == [1, None]
    assert package.check(project.model, text, data=items[:1], use="day").program.data.ignore is None


def test_pictures_of_other_sizes_are_brought_to_size_for_a_counterfactual(project: Project, robspec: Run) -> None:
    """The middle of a larger picture is the very picture: what is found of it is found again."""
    small = np.asarray(Image.open(project.root / "images" / "im0.png"))
    large = np.zeros((SIDE + 4, SIDE + 6, 3), np.uint8)
    large[2:-2, 3:-3] = small
    (project.root / "large").mkdir()
    Image.fromarray(large).save(project.root / "large" / "im0.png")
    project.write_spec()
    cropped = project.root / "cropped.rspec"
    block = f'data val {{\n  images "large/*.png"\n  masks "masks/*.png"\n  crop [{SIDE}, {SIDE}]\n}}\n'
    head, _, rest = project.spec.read_text().partition("data val")
    cropped.write_text(head + block + rest.partition("}\n")[2])
    asked = ("--pixel", "1,1", "--steps", 5, "--format", "json")
    images = project.root / "images" / "im0.png", project.root / "large" / "im0.png"
    plain = robspec("counterfactual", project.model, images[0], "--spec", project.spec, *asked)
    brought = robspec("counterfactual", project.model, images[1], "--spec", cropped, *asked)
    assert (plain.status, brought.status) == (0, 0), brought.err
    first, second = (json.loads(r.out)["images"][0] for r in (plain, brought))
    assert first["lower"] == second["lower"]

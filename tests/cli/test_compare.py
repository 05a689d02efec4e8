"""Models side by side: the numbers are those of `check`, the claim is nobody's."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import PROVED, Brightness, Project, Run, export


@pytest.fixture
def models(project: Project) -> tuple[Path, Path]:
    return project.model, export(Brightness(0.05), project.root / "dim.pt2")


def test_the_numbers_are_those_of_check(project: Project, robspec: Run, models: tuple[Path, Path]) -> None:
    result = robspec("compare", *models, project.spec, "--format", "json")
    assert result.status == 0, result.err
    found = json.loads(result.out)["models"]
    assert [Path(m["model"]).name for m in found] == [m.name for m in models]
    for model, row in zip(models, found, strict=True):
        report = json.loads(robspec("check", model, project.spec, "--claims", "ignore", "--format", "json").out)
        for prop, cell in zip(report["properties"], row["properties"], strict=True):
            certified = sorted(Fraction(i["certified"][0]["exact"]) for i in prop["images"])
            expected = certified[1] if cell["of"] == "median" else sum(certified, Fraction(0)) / 4
            assert Fraction(cell["certified"]) == expected
    assert found[0]["properties"][1]["certified"] != found[1]["properties"][1]["certified"]


def test_text_markdown_and_picture(project: Project, robspec: Run, models: tuple[Path, Path]) -> None:
    picture = project.root / "p.svg"
    text = robspec("compare", *models, project.spec, "--picture", picture, "--limit", 2)
    assert text.status == 0
    assert text.out.count("dim.pt2") == 4  # the fourth says that its claim is left aside
    assert "limit: the first 2 of 4 images" in text.out
    assert "<svg" in picture.read_text()
    markdown = robspec("compare", *models, project.spec, "--format", "markdown", "-q", "--property", "far").out
    assert markdown.count("| dim.pt2 |") == 1
    assert "accurate" not in markdown


def test_attacks_are_asked_for(project: Project, robspec: Run, models: tuple[Path, Path]) -> None:
    project.write_spec(PROVED.replace("budget 0.1", "budget 2"))
    result = robspec("compare", models[0], project.spec, "--format", "json", "--attack", 5, "-q")
    (row,) = json.loads(result.out)["models"]
    first = row["properties"][0]
    assert Fraction(first["certified"]) <= Fraction(first["attained"]) < Fraction(first["clean"])


def test_bad_input(project: Project, robspec: Run, models: tuple[Path, Path]) -> None:
    assert robspec("compare", *models, project.spec, "--picture", project.root / "p.jpg").status == 2
    assert robspec("compare", project.root / "none.pt2", project.spec).status == 2
    assert robspec("compare", project.spec).status == 2


def test_smoothing_answers_beside_the_constant(project: Project, robspec: Run, models: tuple[Path, Path]) -> None:
    options = ("--format", "json", "-q", "--smoothing", "0.2", "--samples", 100, "--alpha", "0.05")
    (row,) = json.loads(robspec("compare", models[0], project.spec, *options).out)["models"]
    accurate, far = row["properties"]
    assert [c["property"] for c in row["properties"]] == ["accurate", "far"]
    assert far["smoothed"] is None
    voted = "\nproperty voted {\n metric pixel_accuracy\n norm l2\n budget 0.1\n require mean(worst_case) >= 0\n"
    project.write_spec(voted + " by smoothing { sigma 0.2 samples 100 alpha 0.05 }\n}")
    report = json.loads(robspec("check", models[0], project.spec, "--format", "json").out)
    certified = [Fraction(i["certified"][0]["exact"]) for i in report["properties"][0]["images"]]
    assert Fraction(accurate["smoothed"]) == sum(certified, Fraction(0)) / 4 > 0
    project.write_spec()
    shown = robspec("compare", *models, project.spec, "-q", "--smoothing", "0.1", "--samples", 40, "--attack", 2)
    assert "smoothed" in shown.out.splitlines()[2]
    assert robspec("compare", *models, project.spec, "--smoothing", "0").status == 2


class Squared(Brightness):
    """A network without a constant."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits = super().forward(image)
        return logits * logits.abs()


def test_a_model_without_a_constant_keeps_its_row(project: Project, robspec: Run) -> None:
    squared = export(Squared(9.0), project.root / "squared.pt2")
    project.write_spec(PROVED.replace("budget 0.1", "budget 2"))
    both = (squared, project.model, project.spec, "-q", "--limit", 2)
    (first, second) = json.loads(robspec("compare", *both, "--attack", 10, "--format", "json").out)["models"]
    assert [c["certified"] for c in first["properties"]] == [None, None]
    assert [c["label"] for c in first["properties"]] == ["-", "-"]
    assert None not in [c["certified"] for c in second["properties"]]
    assert Fraction(first["properties"][0]["attained"]) < Fraction(first["properties"][0]["clean"])
    assert "E0501" in first["lipschitz"]
    assert "--smoothing" in first["lipschitz"]
    assert "--assume-lipschitz" not in json.dumps(first)
    project.write_spec()
    sampled = ("--smoothing", "0.2", "--samples", 40, "--decompose", "--picture", project.root / "p.svg")
    result = robspec("compare", *both, *sampled, "--property", "accurate", "--format", "markdown")
    assert result.status == 0, result.err
    cells = next(line for line in result.out.splitlines() if line.startswith("| squared.pt2")).split(" | ")
    assert cells[2] == "-"
    assert float(cells[3]) > 0
    assert cells[-1] == "- |"
    assert "- squared.pt2: no Lipschitz constant" in result.out


def test_a_curve_needs_a_sweep(project: Project, robspec: Run) -> None:
    result = robspec("compare", project.root / "none.pt2", project.spec, "--curve", project.root / "c.svg")
    assert result.status == 2
    assert "E0601" in result.err
    assert "budget 0 to 1 points 7" in result.err


def test_the_gap_is_drawn_and_taken_apart(project: Project, robspec: Run) -> None:
    """Of an exact map the constant takes nothing: the measured slope is the proved one but for its rounding."""
    sweep = "\nproperty swept {\n metric pixel_accuracy\n norm l2\n budget 0 to 2 points 3\n"
    sweep += " require mean(worst_case) >= 0\n}"
    project.write_spec(sweep)
    for form, begins in (("svg", b"<?xml"), ("png", b"\x89PNG")):
        curve = project.root / f"c.{form}"
        options = ("--attack", 30, "--decompose", "--curve", curve, "--format", "json", "-q")
        result = robspec("compare", project.model, project.spec, *options)
        assert result.status == 0, result.err
        assert curve.read_bytes().startswith(begins)
    (row,) = json.loads(result.out)["models"]
    for cell in row["properties"]:
        assert Fraction(cell["certified"]) <= Fraction(cell["certified_at_measured"])
        assert Fraction(cell["certified"]) <= Fraction(cell["attained"])
        assert Fraction(99, 100) < Fraction(cell["measured"]) <= Fraction("1.0001")
    text = robspec("compare", project.model, project.spec, "--attack", 30, "--decompose", "-q").out
    assert "at eps = 2: of the gap, " in text
    assert "the relaxation and the attack" in text
    assert robspec("compare", project.model, project.spec, "--curve", project.root / "c.jpg").status == 2

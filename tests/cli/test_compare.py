"""Models side by side: the numbers are those of `check`, the claim is nobody's."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

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
    assert text.out.count("dim.pt2") == 4, (
        "a line in each of two tables, the constant, and that its claim is left aside"
    )
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

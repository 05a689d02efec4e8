"""A witness shown again: believed in nothing but the images that lie beside it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Brightness, Project, Run, export

BODY = """
property accurate {
  metric pixel_accuracy
  norm l2
  budget 2
  require mean(worst_case) >= 0.9
}
"""


@pytest.fixture
def witness(project: Project, robspec: Run) -> Path:
    project.write_spec(BODY)
    folder = project.root / "w"
    result = robspec("check", project.model, project.spec, "--attack", 40, "--witness-dir", folder)
    assert result.status == 1, result.err
    return folder / "accurate.witness.json"


def test_shown_again_from_another_folder(project: Project, robspec: Run, witness: Path, tmp_path: Path) -> None:
    stored = sorted(witness.parent.glob("*.npy"))
    assert stored
    for path in stored:
        with Image.open(path.with_suffix(".png")) as view:
            assert view.size == (8, 8)
    moved = tmp_path / "elsewhere"
    witness.parent.rename(moved)
    result = robspec("replay", moved / witness.name, project.model, project.spec)
    assert result.status == 0, result.err
    assert "accurate, mean(worst_case) >= 0.9: violated" in result.out
    assert result.out.count(", attains 0.") == len(stored)
    assert result.err == ""


def test_a_part_of_the_images_is_shown_again_and_said(project: Project, robspec: Run) -> None:
    project.write_spec(BODY)
    folder = project.root / "w"
    given = ("--attack", 40, "--witness-dir", folder, "--limit", 2)
    result = robspec("check", project.model, project.spec, *given)
    assert result.status == 1, result.err
    result = robspec("replay", folder / "accurate.witness.json", project.model, project.spec)
    assert result.status == 0, result.err
    assert "of the first 2 of 4 images" in result.out
    assert result.err == ""


def test_what_it_says_is_not_believed(project: Project, robspec: Run, witness: Path) -> None:
    document = json.loads(witness.read_text())
    for entry in document["violations"][0]["images"]:
        entry["distance"], entry["attained"] = "0", "0"
    witness.write_text(json.dumps(document))
    for path in witness.parent.glob("*.npy"):
        clean = np.load(path)
        np.save(path, np.clip(clean + 0.5, 0, 1).astype(np.float32))
    result = robspec("replay", witness, project.model, project.spec)
    assert result.status == 1
    assert "the violation is not there" in result.out


@pytest.mark.parametrize(
    "array", [np.full((3, 8, 8), 2.0, np.float32), np.full((3, 8, 8), np.nan, np.float32), np.zeros((3, 4, 4))]
)
def test_what_is_no_image_does_not_count(project: Project, robspec: Run, witness: Path, array: np.ndarray) -> None:
    for path in witness.parent.glob("*.npy"):
        np.save(path, array)
    result = robspec("replay", witness, project.model, project.spec)
    assert result.status == 1
    assert "is no image of this model" in result.out


def test_another_model_need_not_violate(project: Project, robspec: Run, witness: Path) -> None:
    model = export(Brightness(0.001), project.root / "other.pt2")
    result = robspec("replay", witness, model, project.spec)
    assert "not the files that the witness was written about: model" in result.err


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schema": "robspec-witness", "schema_version": 9}', '{"schema": "robspec-report"}']
)
def test_no_witness(project: Project, robspec: Run, text: str) -> None:
    path = project.root / "w.json"
    path.write_text(text)
    result = robspec("replay", path, project.model, project.spec)
    assert result.status == 2
    assert "E0605" in result.err


def test_odd_entries_name_no_files(project: Project, robspec: Run, witness: Path) -> None:
    document = json.loads(witness.read_text())
    document["violations"][0]["images"] = [{"image": "images/im0.png", "stored": "../secret.npy"}, 3, {"stored": 4}]
    document["violations"].append(7)
    witness.write_text(json.dumps(document))
    assert robspec("replay", witness, project.model, project.spec).status == 1
    document["property"] = "another"
    witness.write_text(json.dumps(document))
    assert "E0605" in robspec("replay", witness, project.model, project.spec).err

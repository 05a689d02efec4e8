"""Errors about the data of a run name the keys of its configuration, and those about another run what differs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robspec import cli
from robspec.data.errors import ImageShapeMismatch, LabelOutOfRange
from robspec.errors import RobspecError
from robspec.models.sameness import VALUES, differing
from robspec.privacy.errors import NoBudget
from robspec.privacy.ledger import Ledger
from robspec.train.config import read_config
from robspec.train.errors import CheckpointMismatch
from robspec.train.run import train

from .conftest import CONFIG, Lines


def refused(folder: Path, text: str, kind: type[RobspecError]) -> str:
    (folder / "config.toml").write_text(text)
    with pytest.raises(kind) as caught:
        train(read_config(folder / "config.toml"), folder / "out", None, Lines())
    return str(caught.value)


@pytest.mark.parametrize(
    ("shape", "more", "mend"),
    [
        ("[3, 32, 24]", "", "write `input = [3, 16, 16]` for `input = [3, 32, 24]` in [data] of "),
        ("[1, 16, 16]", "mean = [0.5]\nstd = [1.0]", ", and 3 of `mean` and of `std` in [model]"),
    ],
)
def test_an_input_that_images_do_not_have(folder: Path, shape: str, more: str, mend: str) -> None:
    text = CONFIG.replace("[3, 16, 16]", shape).replace("depths = [1]", f"depths = [1]\n{more}")
    said = refused(folder, text, ImageShapeMismatch)
    assert mend in said
    assert "config.toml" in said
    assert "`resize`" not in said


def test_an_array_of_another_shape(folder: Path) -> None:
    np.save(folder / "train" / "images" / "0.npy", np.zeros((3, 20, 16), np.uint8))
    (folder / "train" / "images" / "0.png").unlink()
    said = refused(folder, CONFIG.replace("train/images/*.png", "train/images/*"), ImageShapeMismatch)
    assert "write `input = [3, 20, 16]`" in said


def mask(folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:  # type: ignore[type-arg]
    for path in (folder / "train" / "masks").iterdir():
        Image.fromarray(change(np.asarray(Image.open(path)))).save(path)


@pytest.mark.parametrize(
    ("change", "mend"),
    [
        (lambda m: m + 4, "add the class to `classes = [...]` in [data] of "),
        (lambda m: 255 * m, "write `binary = true` in [data] of "),
        (lambda m: m + 1, "in front where masks number classes from 1; or number them from 0 in the masks"),
        (lambda m: 2 * m, "add the class that `classes = [...]` in [data] of "),
        (lambda m: 3 * m, "`binary = true` in [data] of "),
    ],
)
def test_a_class_that_the_configuration_lacks(folder: Path, change: Callable[..., np.ndarray], mend: str) -> None:  # type: ignore[type-arg]
    mask(folder, lambda m: change(m).astype(np.uint8))
    said = refused(folder, CONFIG, LabelOutOfRange)
    assert mend in said
    assert "config.toml" in said
    assert "masks ..." not in said
    assert "`map" not in said


def test_a_folder_that_is_called_by_no_class(folder: Path) -> None:
    for part, name in (("train", "dark"), ("train", "dusk"), ("val", "dark")):
        (folder / "kinds" / part / name).mkdir(parents=True)
        target = folder / "kinds" / part / name / "0.png"
        target.write_bytes((folder / part / "images" / "0.png").read_bytes())
    text = CONFIG.replace('"fcn"', '"patches"').replace("scale = [1.0, 1.5]", "")
    for part in ("train", "val"):
        text = text.replace(f'{part}_images = "{part}/images', f'{part}_images = "kinds/{part}/*')
        text = text.replace(f'{part}_masks = "{part}/masks/*.png"', f'{part}_labels = "by folder"')
    text = text.replace('["pixel_accuracy", "iou[bright]"]', '["accuracy"]')
    said = refused(folder, text, LabelOutOfRange)
    assert "the folder is called 'dusk'" in said
    assert "or add the class to `classes = [...]` in [data] of " in said


def test_a_changed_configuration_is_named_key_by_key(folder: Path) -> None:
    train(read_config(folder / "config.toml"), folder / "out", None, Lines())
    said = refused(folder, CONFIG.replace("rate = 1e-2", "rate = 2e-2").replace("seed = 3\n", ""), CheckpointMismatch)
    assert "other configuration (optimizer.rate was 0.01 and is 0.02, run.seed was 3 and is 0)" in said
    said = refused(folder, CONFIG + "# a remark\n", CheckpointMismatch)
    assert "other configuration (its text, and no value)" in said


def test_a_log_of_another_run_says_what_differs(tmp_path: Path) -> None:
    run = {"configuration": "a", VALUES: json.dumps({"privacy": {"noise": 0.3}}), "data": "x"}
    Ledger.open(tmp_path, 8, 0, run).charge()
    other = {"configuration": "b", VALUES: json.dumps({"privacy": {"noise": 5.0}}), "data": "x"}
    with pytest.raises(NoBudget, match=r"other configuration \(privacy.noise was 0.3 and is 5.0\)"):
        Ledger.open(tmp_path, 8, 0, other)
    assert Ledger.open(tmp_path, 8, 0, {**run, VALUES: "{}"}).charged == 1, "what decides is the digest"


def test_what_differs() -> None:
    versions = [json.dumps({"torch": "2.12", "numpy": "2"}), json.dumps({"torch": "2.13", "numpy": "2"})]
    found = differing({"versions": versions[1], "data": "a"}, {"versions": versions[0], "data": "b"})
    assert found == ["data", 'versions (torch was "2.12" and is "2.13")']
    assert differing({"configuration": "a"}, {"configuration": "b"}) == ["configuration"]
    assert differing({"data": "a"}, {}) == ["data"]
    assert differing({"data": "a", VALUES: "1"}, {"data": "a"}) == []
    many = [json.dumps({str(k): k + more for k in range(9)}) for more in (0, 1)]
    assert differing({"versions": many[0]}, {"versions": many[1]})[0].endswith("and 3 more)")


def test_the_terminal_names_the_page(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = CONFIG.replace("[3, 16, 16]", "[3, 16, 32]")
    (folder / "config.toml").write_text(text)
    monkeypatch.setattr(sys, "argv", ["robspec", "train", str(folder / "config.toml"), "--out", str(folder / "out")])
    with pytest.raises(SystemExit) as exited:
        cli.main()
    assert exited.value.code == 2
    assert capsys.readouterr().err.endswith("\n\n1 error; `robspec explain E0307` says more\n")

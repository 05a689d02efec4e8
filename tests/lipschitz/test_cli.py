"""`robspec lipschitz`: the table, the interval, and the machine-readable form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from robspec.cli.lipschitz import command
from robspec.errors import RobspecError
from robspec.models.errors import ModelNotFound


@pytest.fixture
def archive(export: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    model[2].weight.data *= 20
    path = tmp_path / "model.pt2"
    torch.export.save(export(model, (3, 6, 6)), path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return path


def test_the_table_marks_the_loosest_node(archive: Path) -> None:
    result = CliRunner().invoke(command, [str(archive), "--seconds", "0.2"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "loosest: conv2d_1 multiplies distances by up to" in result.output
    assert "Lipschitz constant in [" in result.output
    assert max(len(line) for line in result.output.splitlines()) <= 80
    assert "1 nodes of bound exactly 1" in result.output
    assert "relu" in CliRunner().invoke(command, [str(archive), "--seconds", "0", "--all"]).output


def test_json_carries_the_exact_bound_and_the_stored_pair(archive: Path) -> None:
    arguments = [str(archive), "--norm", "linf", "--seconds", "0.2", "--format", "json", "--pair", "pair.npz"]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    report = json.loads(result.output)
    assert report["input_norm"] == report["output_norm"] == "linf"
    assert float.fromhex(report["upper_hex"]) == report["upper"] >= report["lower"] > 0
    assert {node["node"] for node in report["nodes"]} >= {"conv2d", "relu", "conv2d_1"}
    with np.load(archive.parent / "pair.npz") as pair:
        assert pair["first"].shape == pair["second"].shape == (1, 3, 6, 6)
        assert float(pair["lower"]) == report["lower"]


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "-0.001"])
def test_a_time_that_is_none_is_refused(archive: Path, seconds: str) -> None:
    result = CliRunner().invoke(command, [str(archive), "--seconds", seconds])
    assert result.exit_code == 2
    assert "is no time" in result.output


def test_a_missing_model_has_the_code_it_has_everywhere(archive: Path) -> None:
    for path in ("nope.pt2", "."):
        with pytest.raises(ModelNotFound):
            CliRunner().invoke(command, [path], catch_exceptions=False)


def test_two_norms_and_given_images(archive: Path) -> None:
    from PIL import Image

    Image.fromarray(np.full((6, 6, 3), 128, dtype=np.uint8)).save(archive.parent / "a.png")
    arguments = [str(archive), "--input-norm", "linf", "--seconds", "0.1", "--images", "*.png"]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert "linf image to l2 logits" in result.output
    assert "conversion of norms: 108^(1/2)" in result.output
    missing = CliRunner().invoke(command, [str(archive), "--seconds", "0.1", "--images", "none*.png"])
    assert missing.exit_code == 2
    for name, content, code in (("b.png", b"no image", "E0305"), ("c.png", None, "E0307")):
        if content is None:
            Image.fromarray(np.zeros((6, 6), dtype=np.uint8)).save(archive.parent / name)
        else:
            (archive.parent / name).write_bytes(content)
        with pytest.raises(RobspecError, match=code):
            CliRunner().invoke(command, [str(archive), "--seconds", "0.1", "--images", name], catch_exceptions=False)


def test_a_file_that_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "broken.pt2"
    path.write_bytes(b"not a model")
    with pytest.raises(RobspecError, match="E0202"):
        CliRunner().invoke(command, [str(path)], catch_exceptions=False)

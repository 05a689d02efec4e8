"""The command: its table, and the same as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from robspec.cli.sensitivity import command
from tests.lipschitz.conftest import Export


def test_the_table_and_its_json(tmp_path: Path, export: Export) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 2, 2), nn.ReLU(), nn.Conv2d(2, 2, 1))
    path = tmp_path / "model.pt2"
    torch.export.save(export(model, (1, 4, 4)), path)
    given = [str(path), "--loss", "tau-cce", "--batch", "16", "--input-bound", "2"]
    shown = CliRunner().invoke(command, given, catch_exceptions=False)
    assert shown.exit_code == 0
    assert "0.weight" in shown.output
    assert "add or remove one sample" in shown.output
    found = json.loads(CliRunner().invoke(command, [*given, "--format", "json"], catch_exceptions=False).output)
    last = found["parameters"][-1]
    assert last["parameter"] == "2.bias"
    assert last["sensitivity"] == pytest.approx(2**0.5 / 4**0.5 * 2)
    assert last["of_the_mean"] == pytest.approx(last["sensitivity"] / 16)

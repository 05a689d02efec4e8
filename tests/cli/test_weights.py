"""Bare weights inside a checkpoint: `check` and `recheck` choose them as `export` does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Project, Run

FACTORY = """from torch import nn

def build():
    return nn.Conv2d(3, 2, 1)
"""
OPTIONS = ("--arch", "one_convolution:build", "--key", "state_dict", "--strip-prefix", "model.")


@pytest.fixture
def checkpoint(project: Project, tmp_path: Path) -> Path:
    """The weights of the tests' own model, under a prefix, beside others."""
    (tmp_path / "cwd").mkdir()
    (tmp_path / "cwd" / "one_convolution.py").write_text(FACTORY)
    row = torch.full((1, 3, 1, 1), 6**-0.5)
    state = {"model.weight": torch.cat([-row, row]), "model.bias": torch.tensor([1.0, -1.0]) * 1.5 * 6**-0.5}
    torch.save({"epoch": 3, "state_dict": {**state, "loss.weight": torch.ones(2)}}, tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt"


def test_check_and_recheck_choose_the_same_weights(
    project: Project, robspec: Run, checkpoint: Path, tmp_path: Path
) -> None:
    asked = robspec("check", checkpoint, project.spec, *OPTIONS, "--certificate", tmp_path / "c.json")
    assert asked.status == 0, asked.err
    assert "weights: state_dict of the model file" in asked.out
    assert "weights: those whose names begin with model.; left out 1: 'loss.weight'" in asked.out
    again = robspec("recheck", tmp_path / "c.json", checkpoint, project.spec, *OPTIONS)
    assert (again.status, again.err) == (0, "")


def test_what_lacks_is_named(project: Project, robspec: Run, checkpoint: Path) -> None:
    whole = robspec("check", checkpoint, project.spec, *OPTIONS[:2])
    assert "E0217" in whole.err
    assert "--key state_dict" in whole.err
    named = robspec("check", checkpoint, project.spec, *OPTIONS[:4])
    assert "E0211" in named.err
    assert "--strip-prefix model." in named.err


@pytest.mark.parametrize("options", [("--key", "state_dict"), ("--strip-prefix", "model.")])
@pytest.mark.parametrize("command", ["check", "recheck"])
def test_they_need_a_network(
    project: Project, robspec: Run, tmp_path: Path, command: str, options: tuple[str, str]
) -> None:
    files = (
        (project.model, project.spec) if command == "check" else (tmp_path / "c.json", project.model, project.spec)
    )
    refused = robspec(command, *files, *options)
    assert refused.status == 2
    assert "name their network with --arch" in refused.err

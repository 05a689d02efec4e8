"""Outputs that are no logits: a property that only holds because of that may not be PROVED."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.cli.conftest import Run, export

SPEC = """language 1
model {{
  input image [3, 8, 8] in [0, 1]
  output logits [{outputs}, 8, 8]
  classes ground, target
}}
data d {{
  images "images/*"
  masks "masks/*"
}}
property found {{
  metric fnr[target]
  norm l2
  budget 0.0005
  require worst_case <= 0.1 for all images
}}
"""


class Returns(nn.Module):
    """A function of z, which is -7 wherever the image is dark: nothing is found."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [B, 1 or 2, H, W]."""
        return self.function(x[:, :1] - 7.1)


def write(folder: Path, outputs: int) -> Path:
    """Two dark images, a third of each a target that no model finds."""
    mask = np.zeros((8, 8), np.uint8)
    mask[:3] = 1
    for name, array in (("images", np.full((3, 8, 8), 0.1, np.float32)), ("masks", mask)):
        (folder / name).mkdir()
        for i in range(2):
            np.save(folder / name / f"{i}.npy", array)
    spec = folder / "s.rspec"
    spec.write_text(SPEC.format(outputs=outputs), encoding="utf-8")
    return spec


@pytest.mark.parametrize(
    "function",
    [
        lambda z: torch.relu(z),
        lambda z: (torch.tanh(z) + 1) / 2,
        lambda z: torch.softmax(z, 1),
        lambda z: torch.sigmoid(torch.sigmoid(z)),
        lambda z: torch.clamp(z, 0, 1),
        lambda z: torch.sigmoid(z) * 0.9,
        lambda z: torch.nn.functional.avg_pool2d(torch.sigmoid(z), 3, 1, 1),
        lambda z: -torch.nn.functional.logsigmoid(-z),
    ],
    ids=["relu", "tanh", "softmax of one", "sigmoid twice", "clamp", "scaled", "smoothed", "softplus"],
)
def test_an_output_of_one_sign_is_refused(
    function: Callable[[torch.Tensor], torch.Tensor], robspec: Run, tmp_path: Path
) -> None:
    result = robspec("check", export(Returns(function), tmp_path / "m.pt2", 8), write(tmp_path, 1))
    assert result.status == 2
    assert "E0506" in result.err
    assert "return the logit" in result.err


def test_an_output_that_is_never_below_zero_is_refused(robspec: Run, tmp_path: Path) -> None:
    """Nothing can be said of it from the graph, but no image shows it below 0."""
    model = export(Returns(lambda z: (z + 8) * 0.5), tmp_path / "m.pt2", 8)
    result = robspec("check", model, write(tmp_path, 1))
    assert result.status == 2
    assert "E0219" in result.err


@pytest.mark.parametrize("outputs", [1, 2])
def test_a_last_sigmoid_or_softmax_is_taken_off(robspec: Run, tmp_path: Path, outputs: int) -> None:
    """The decision is that of the probabilities: nothing is found, and the report says what was proved of what."""
    heads = {1: lambda z: torch.sigmoid(z), 2: lambda z: torch.softmax(torch.cat([-z, z], 1), 1)}
    model = export(Returns(heads[outputs]), tmp_path / "m.pt2", 8)
    spec = write(tmp_path, outputs)
    text = robspec("check", model, spec, "--witness-dir", tmp_path / "w")
    assert text.status == 1
    assert "probabilities are no logits" in " ".join(text.out.split())
    report = json.loads(robspec("check", model, spec, "--format", "json", "--witness-dir", tmp_path / "w").out)
    assert "head-taken-off" in [note["code"] for note in report["remarks"]]


@pytest.mark.parametrize("how", ["claimed", "assumed"])
def test_a_constant_of_the_file_is_none_of_the_logits(robspec: Run, tmp_path: Path, how: str) -> None:
    """softmax is 1/2-Lipschitz, its logits are not: what holds of the file proves nothing of what lies under it."""
    model = export(Returns(lambda z: torch.softmax(torch.cat([-9 * z, 9 * z], 1), 1)), tmp_path / "m.pt2", 8)
    spec = write(tmp_path, 2)
    options = ("--assume-lipschitz", "7") if how == "assumed" else ()
    if how == "claimed":
        text = spec.read_text(encoding="utf-8")
        spec.write_text(text.replace("classes ground", "lipschitz l2 <= 7\n  classes ground"), encoding="utf-8")
    result = robspec("check", model, spec, *options)
    assert result.status == 2
    assert "E0209" in result.err
    assert "softmax is taken off" in " ".join(result.err.split())

"""Networks on which rounding decides: what float32, or float64, makes of a tie may not be PROVED of the reals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.cli.conftest import Run, export

SPEC = """language 1
model {
  input image [3, 4, 4] in [0, 1]
  output logits [2, 4, 4]
  classes ground, target
}
data d {
  images "images/*"
  masks "masks/*"
}
property right {
  metric pixel_accuracy
  norm l2
  budget 0
  require worst_case >= 1 for all images
}
property far {
  metric pixel_accuracy
  norm l2
  degraded when h <= 0.5
  require radius >= 1e-30 for all images
}
"""


class Cancels(nn.Module):
    """1/2, and (big x + 1) - big x, which is 1: the second is larger over the reals, and is lost in rounding."""

    def __init__(self, big: float) -> None:
        super().__init__()
        self.big = big

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        large = x[:, :1] * self.big
        return torch.cat([x[:, :1] * 0.0 + 0.5, (large + 1.0) - large], 1)


def write(folder: Path) -> Path:
    """A bright image that is ground everywhere, which is wrong over the reals."""
    for name, array in (("images", np.full((3, 4, 4), 0.75, np.float32)), ("masks", np.zeros((4, 4), np.uint8))):
        (folder / name).mkdir()
        np.save(folder / name / "0.npy", array)
    spec = folder / "s.rspec"
    spec.write_text(SPEC, encoding="utf-8")
    return spec


@pytest.mark.parametrize(("big", "forward"), [(1e9, "model"), (1e18, "float64")], ids=["float32", "float64"])
def test_what_rounding_decides_is_proved_only_of_what_is_taken_as_exact(
    big: float, forward: str, robspec: Run, tmp_path: Path
) -> None:
    model, spec = export(Cancels(big), tmp_path / "m.pt2", 4), write(tmp_path)
    taken = robspec("check", model, spec, "--forward", forward, "--no-store")
    assert (taken.status, "taken as exact" in taken.out) == (0, True)
    real = robspec("check", model, spec, "--arithmetic", "real", "--no-store", "--format", "json")
    assert real.status in (1, 3)
    report = json.loads(real.out)
    assert report["forward"] == "float64"
    right, far = report["properties"]
    assert right["verdict"] != "PROVED"
    assert far["verdict"] != "PROVED"
    assert right["lipschitz"]["rounding"]["approx"] > 0
    # In float64 the first is found out for what it is; of the second rounding leaves everything open.
    assert right["verdict"] == ("REFUTED" if big < 1e10 else "UNKNOWN")


def test_options_that_do_not_cover_rounding_yet_are_refused(robspec: Run, tmp_path: Path) -> None:
    model, spec = export(Cancels(1.0), tmp_path / "m.pt2", 4), write(tmp_path)
    for option in (("--cross-check", "1"), ("--attack", "2")):
        result = robspec("check", model, spec, "--arithmetic", "real", *option)
        assert result.status == 2
        assert "E0601" in result.err
        assert option[0] in result.err
    result = robspec("check", model, spec, "--arithmetic", "real", "--assume-lipschitz", "3")
    assert (result.status, "not used" in result.out) == (1, True)  # 1 is larger than 1/2, also over the reals

"""A tiny model, images and a specification that the whole command line can run on in a second."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robspec import cli
from robspec.models.export import export_archive

SIDE = 8
SPEC = """language 1
model {{
  input image [3, 8, 8] in [0, 1]
  output logits [2, 8, 8]
  classes dark, bright
  lipschitz l2 <= {claim}
}}
data val {{
  images "images/*.png"
  masks "masks/*.png"
}}
{properties}
"""
PROVED = """
property accurate {
  metric pixel_accuracy
  norm l2
  budget 0.1
  require mean(worst_case) >= 0.5
}
property far {
  metric pixel_accuracy
  norm l2
  degraded when h <= 0.25
  require radius >= 0.1 for all images
}
"""


class Brightness(torch.nn.Module):
    """Logits (-s, s) of the channel sum s shifted to 0: an exact, 1-Lipschitz linear map for weight 6^-1/2."""

    def __init__(self, scale: float = 6**-0.5) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        s = (image - 0.5).sum(1, keepdim=True) * self.scale
        return torch.cat([-s, s], 1)


@dataclass(frozen=True)
class Project:
    """A folder with everything a check needs.

    Args:
        root: the folder.
        model: the archive.
        spec: the specification.
    """

    root: Path
    model: Path
    spec: Path

    def write_spec(self, properties: str = PROVED, claim: str = "1.0001") -> Path:
        self.spec.write_text(SPEC.format(claim=claim, properties=properties))
        return self.spec


def export(module: torch.nn.Module, path: Path, side: int = SIDE, channels: int = 3) -> Path:
    """Export with a dynamic batch, the way `robspec export` does."""
    exported = export_archive(module, None, (channels, side, side), 64, "the test's module")
    path.write_bytes(exported.archive)
    return path


def write_images(root: Path, count: int = 4) -> None:
    """Half dark, half bright images whose masks say so, one pixel wrong in the last."""
    (root / "images").mkdir(exist_ok=True)
    (root / "masks").mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for i in range(count):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[:, SIDE // 2 :] = 1
        image = np.where(mask[..., None] == 1, 230, 25) + rng.integers(-20, 20, (SIDE, SIDE, 3))
        if i == count - 1:
            mask[0, 0] = 1
        Image.fromarray(image.astype(np.uint8)).save(root / "images" / f"im{i}.png")
        Image.fromarray(mask).save(root / "masks" / f"im{i}.png")


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(Brightness(), tmp_path_factory.mktemp("model") / "bright.pt2")


@pytest.fixture
def project(tmp_path: Path, archive: Path) -> Project:
    write_images(tmp_path)
    made = Project(tmp_path, archive, tmp_path / "spec.rspec")
    made.write_spec()
    return made


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    status: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def robspec(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the command line in this process, from an empty folder."""

    def run(*arguments: object) -> Result:
        folder = tmp_path / "cwd"
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setattr(sys, "argv", ["robspec", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return Result(int(stop.value.code or 0), captured.out, captured.err)

    return run

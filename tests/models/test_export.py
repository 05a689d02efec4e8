"""Exporting: weights made explicit, the archive passes the inspection, nothing is left half-written."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from orthogonium.layers import (
    AdaptiveOrthoConv2d,
    AdaptiveOrthoConvTranspose2d,
    HouseHolder,
    MaxMin,
    OrthoLinear,
    UnitNormLinear,
)
from orthogonium.layers.conv.adaptiveSOC.ortho_conv import AdaptiveSOCConv2d
from orthogonium.layers.conv.AOL.aol import AOLConv2D
from orthogonium.layers.conv.SLL.sll_layer import SDPBasedLipschitzResBlock
from torch import nn
from torch.nn.utils import parametrizations

from robspec.cli import cli
from robspec.models.errors import ArchitectureError, ExportFailed, UnwritableOutput
from robspec.models.export import export_archive
from robspec.models.loading import load
from robspec.models.writing import write_whole

from .archives import records, small

SHAPE = (4, 8, 8)
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: nn.Conv2d(4, 2, 3),
    "spectral_norm": lambda: parametrizations.spectral_norm(nn.Conv2d(4, 4, 3)),
    "weight_norm": lambda: parametrizations.weight_norm(nn.Conv2d(4, 4, 3)),
    "orthogonal": lambda: parametrizations.orthogonal(nn.Conv2d(4, 4, 3)),
    "orthogonal conv": lambda: AdaptiveOrthoConv2d(4, 8, 3),
    "kernel is stride": lambda: AdaptiveOrthoConv2d(4, 16, 2, stride=2, padding=0),
    "strided, weight is a property": lambda: AdaptiveOrthoConv2d(4, 16, 3, stride=2, padding=1),
    "transposed": lambda: AdaptiveOrthoConvTranspose2d(4, 8, 4, stride=2, padding=1),
    "SOC": lambda: AdaptiveSOCConv2d(4, 8, 3),
    "SOC strided": lambda: AdaptiveSOCConv2d(4, 16, 4, stride=2, padding=1),
    "AOL": lambda: AOLConv2D(4, 8, 3, padding=1, padding_mode="zeros"),
    "SLL": lambda: SDPBasedLipschitzResBlock(4, 2),
    "MaxMin and HouseHolder": lambda: nn.Sequential(MaxMin(), HouseHolder(4)),
    "linear": lambda: nn.Sequential(
        nn.Flatten(2), OrthoLinear(64, 64), UnitNormLinear(64, 64), nn.Unflatten(2, (8, 8))
    ),
}
PLAIN = {"plain", "MaxMin and HouseHolder"}


@pytest.mark.parametrize("name", LAYERS)
def test_weights_become_explicit(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = LAYERS[name]()
    made = export_archive(module, None, SHAPE, 8, name)
    assert bool(made.explicit) == (name not in PLAIN)
    path = tmp_path / "m.pt2"
    path.write_bytes(made.archive)
    model = load(path)
    images = torch.rand(5, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(model.logits(images), module(images), atol=1e-4, rtol=1e-4)
    targets = {str(n.target) for n in model.program.graph.nodes if n.op == "call_function"}
    assert not targets & {"aten.matmul.default", "aten.bmm.default", "aten.linalg_qr.default"} or name == "linear"


def test_nothing_pickled_and_no_absolute_path() -> None:
    made = export_archive(small(), None, (3, 8, 8), 8, "small")
    content = records(made.archive)
    assert all(not v.startswith((b"PK", b"\x80")) for v in content.values())
    assert os.fsencode(str(Path(__file__).parent)) not in made.archive
    assert os.fsencode(str(Path(torch.__file__).parent)) not in made.archive


def test_fixed_batch(tmp_path: Path) -> None:
    write_whole(tmp_path / "m", export_archive(small(), None, (3, 8, 8), 1, "small").archive)
    assert load(tmp_path / "m").batch.high == 1


def test_training_mode_is_left(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Dropout()).train()
    write_whole(tmp_path / "m", export_archive(module, None, (3, 8, 8), 8, "m").archive)
    image = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(load(tmp_path / "m").logits(image), module.eval()(image).detach())


class Noisy(nn.Module):
    """Different at every call."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Branch on data."""
        return image if image.sum() > 0 else -image


def test_what_cannot_be_exported_says_so() -> None:
    with pytest.raises(ExportFailed):
        export_archive(Noisy(), None, (3, 8, 8), 8, "noisy")
    with pytest.raises(ArchitectureError):
        export_archive(small(), {"wrong": torch.zeros(1)}, (3, 8, 8), 8, "small")


class Several(nn.Module):
    """Returns more than the logits, as a dict, a tuple or a list."""

    def __init__(self, kind: type) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.kind = kind

    def forward(self, image: torch.Tensor) -> object:
        """Return logits and image."""
        found = {"out": self.conv(image), "aux": image}
        return found if self.kind is dict else self.kind(found.values())


class Logits(nn.Module):
    """The wrapper that `robspec explain E0213` shows."""

    def __init__(self, network: nn.Module, key: object) -> None:
        super().__init__()
        self.network = network
        self.key = key

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits alone."""
        found: torch.Tensor = self.network(image)[self.key]
        return found


@pytest.mark.parametrize(("kind", "key"), [(dict, "out"), (tuple, 0), (list, 0)])
def test_more_than_logits_is_mended_by_a_wrapper(kind: type, key: object) -> None:
    with pytest.raises(ExportFailed, match=f"returns a {kind.__name__}") as caught:
        export_archive(Several(kind), None, (3, 8, 8), 8, "several")
    assert "wrap it" in caught.value.mend
    assert "aux" in caught.value.what or kind is not dict
    export_archive(Logits(Several(kind), key), None, (3, 8, 8), 8, "logits alone")


def test_unwritable_output_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (folder, tmp_path / "missing" / "m.pt2", Path("/proc/none/m.pt2")):
        with pytest.raises(UnwritableOutput):
            write_whole(path, b"content")
    assert list(tmp_path.rglob("*")) == [folder]


def test_an_older_file_survives_a_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.pt2"
    path.write_bytes(b"older")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnwritableOutput, match="No space left"):
        write_whole(path, b"newer")
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net_of_mine.py").write_text(
        "from orthogonium.layers import AdaptiveOrthoConv2d\n"
        "def build():\n    return AdaptiveOrthoConv2d(3, 4, 3, padding=1)\n"
    )
    monkeypatch.chdir(tmp_path)
    arguments = ["export", "--arch", "net_of_mine:build", "--input", "3,8,8", "--batch-max", "4", "out.pt2"]
    result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "largest difference" in result.output
    assert load(tmp_path / "out.pt2").batch.high == 4
    with zipfile.ZipFile(tmp_path / "out.pt2") as archive:
        assert archive.testzip() is None
    result = CliRunner().invoke(cli, [*arguments[:-1], "no/out.pt2"])
    assert isinstance(result.exception, UnwritableOutput)
    assert CliRunner().invoke(cli, ["export", "--arch", "a:b", "--input", "3,8", "x"]).exit_code == 2

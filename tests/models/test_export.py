"""Exporting: weights made explicit, the archive passes the inspection, nothing is left half-written."""

from __future__ import annotations

import os
import warnings
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
from torch.nn.utils import parametrizations, parametrize, prune

from robspec.cli import cli
from robspec.function.errors import UnsuitableProgram
from robspec.models.errors import ArchitectureError, ExportFailed, ModelInterface, UnwritableOutput
from robspec.models.export import export_archive
from robspec.models.loading import load
from robspec.models.writing import write_whole

from .archives import exported, records, small

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


def hooked(kind: str) -> nn.Module:
    """A layer whose weight a hook of torch.nn.utils computes before each pass."""
    layer = nn.Conv2d(4, 4, 3, padding=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch prefers parametrizations
        if kind == "weight_norm":
            return nn.utils.weight_norm(layer)
        if kind == "spectral_norm":
            return nn.utils.spectral_norm(layer)
        return prune.random_unstructured(layer, "weight", amount=0.5)


class Named(nn.Module):
    """One layer under several names: two attributes, a list of modules, a plain list, and a parent's own name."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.first = layer
        self.second = layer
        self.listed = nn.ModuleList([nn.Sequential(layer), nn.ReLU()])
        self.order = [self.first, (self.second,)]
        self.inside = self.listed[0]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Apply the layer five times."""
        image = self.inside(self.listed[0](self.second(self.first(image))))
        logits: torch.Tensor = self.order[1][0](image)
        return logits


@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm", "prune", "spectral", "weight", "orthogonal", "SOC"])
def test_a_layer_of_several_names_is_explicit_under_each(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers: dict[str, Callable[[], nn.Module]] = {
        "spectral": lambda: parametrizations.spectral_norm(nn.Conv2d(4, 4, 3, padding=1)),
        "weight": lambda: parametrizations.weight_norm(nn.Conv2d(4, 4, 3, padding=1)),
        "orthogonal": lambda: parametrizations.orthogonal(nn.Conv2d(4, 4, 1)),
        "SOC": lambda: AdaptiveOrthoConv2d(4, 4, 3),
    }
    module = Named(layers[kind]() if kind in layers else hooked(kind))
    module(torch.rand(2, *SHAPE, requires_grad=True))  # leaves a weight behind that knows how it was computed
    made = export_archive(module, None, SHAPE, 8, kind)
    names = ("first", "inside.0", "listed.0.0", "second")
    assert {n for n in made.explicit if n.endswith(".weight")} == {f"{n}.weight" for n in names}
    (tmp_path / "m").write_bytes(made.archive)
    model = load(tmp_path / "m")
    images = torch.rand(5, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(model.logits(images), module(images), atol=1e-4, rtol=1e-4)
    targets = {str(n.target) for n in model.program.graph.nodes if n.op == "call_function"}
    assert targets == {"aten.conv2d.default", "aten.pad.default"} & targets
    assert module.first._forward_pre_hooks or parametrize.is_parametrized(module.first)


@pytest.mark.parametrize("kind", ["weight_norm", "spectral_norm"])
def test_an_export_of_ones_own_with_a_hook_is_read(kind: str, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(exported(hooked(kind).eval(), shape=SHAPE))
    assert load(tmp_path / "m").output_shape == SHAPE


class Writes(nn.Module):
    """Writes to the images themselves, through a view where asked."""

    def __init__(self, view: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)
        self.view = view

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Scale in place."""
        (image[:, :1] if self.view else image).mul_(0.5)
        logits: torch.Tensor = self.conv(image)
        return logits


@pytest.mark.parametrize("view", [True, False])
def test_a_write_to_the_input_is_named(view: bool, tmp_path: Path) -> None:
    with pytest.raises(ExportFailed, match="writes to its input") as caught:
        export_archive(Writes(view), None, (3, 8, 8), 8, "writes")
    assert "clone()" in caught.value.mend
    (tmp_path / "m").write_bytes(exported(Writes(view).eval()))
    with pytest.raises(UnsuitableProgram, match="changes its input, the image image") as refused:
        load(tmp_path / "m")
    assert "clone()" in refused.value.mend
    assert "eval()" not in refused.value.mend


def test_a_write_to_the_input_that_counts_as_an_output_is_named(tmp_path: Path) -> None:
    dynamic = ({0: torch.export.Dim("batch", min=1, max=8)},)
    with torch.no_grad():
        program = torch.export.export(Writes(False).eval(), (torch.rand(2, 3, 8, 8),), dynamic_shapes=dynamic)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program.run_decompositions(), tmp_path / "m.pt2")
    with pytest.raises(ModelInterface, match="writes to its input") as caught:
        load(tmp_path / "m.pt2")
    assert "clone()" in caught.value.mend


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
    wide = CliRunner().invoke(cli, [*arguments[:-1], "--accumulate", "float64", "wide.pt2"], catch_exceptions=False)
    assert "accumulating in float64: 1 convolutions and products" in wide.output
    result = CliRunner().invoke(cli, [*arguments[:-1], "no/out.pt2"])
    assert isinstance(result.exception, UnwritableOutput)
    assert CliRunner().invoke(cli, ["export", "--arch", "a:b", "--input", "3,8", "x"]).exit_code == 2


def test_a_constant_in_half_precision_does_not_decide_what_images_are(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("by", torch.tensor(0.5, dtype=torch.float16))

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image * self.by

    path = tmp_path / "m.pt2"
    path.write_bytes(export_archive(Scaled().eval(), None, (2, 4, 4), 4, "the test's").archive)
    assert load(path).dtype is torch.float32

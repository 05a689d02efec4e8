"""Loading: batches, dtypes, normalisation, weights with an architecture, and the real archives."""

from __future__ import annotations

import hashlib
import io
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from torch import nn

from robspec.ir.types import Normalize
from robspec.models.errors import (
    ArchitectureError,
    BareWeights,
    ForwardFailed,
    InconsistentArchive,
    ModelChoice,
    ModelInterface,
    UnknownOperator,
)
from robspec.models.loading import BatchSizes, load

from .archives import KVASIR, Small, exported, packed, records, small


def images(count: int, shape: tuple[int, ...] = (3, 8, 8)) -> torch.Tensor:
    """Random images, the same every time."""
    return torch.rand((count, *shape), generator=torch.Generator().manual_seed(1))


def put(folder: Path, blob: bytes, name: str = "model.pt2") -> Path:
    """Write bytes to a file."""
    path = folder / name
    path.write_bytes(blob)
    return path


@pytest.mark.parametrize("name", ["model.pt2", "model.pt", "model.png", "model"])
def test_recognised_by_content(archive: bytes, tmp_path: Path, name: str) -> None:
    model = load(put(tmp_path, archive, name))
    assert model.sha256 == hashlib.sha256(archive).hexdigest()
    assert (model.input_shape, model.output_shape) == ((3, 8, 8), (2, 8, 8))
    assert model.batch == BatchSizes(1, 64)
    assert model.dtype == model.forward_dtype == torch.float32


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 9])
def test_fixed_batches_are_cut_and_filled(tmp_path: Path, batch: int, count: int) -> None:
    model = load(put(tmp_path, exported(small(), batch=batch)))
    assert model.batch.fixed
    expected = small()(images(count)).detach() if count else torch.empty(0, 2, 8, 8)
    torch.testing.assert_close(model.logits(images(count)), expected)


def test_batches_beyond_the_largest(archive: bytes, tmp_path: Path) -> None:
    model = load(put(tmp_path, archive))
    torch.testing.assert_close(model.logits(images(150)), small()(images(150)).detach())


def test_float64(archive: bytes, tmp_path: Path) -> None:
    single = load(put(tmp_path, archive))
    double = load(put(tmp_path, archive), forward_dtype=torch.float64)
    exact = small().double()(images(4).double()).detach()
    assert double.logits(images(4)).dtype == torch.float64
    torch.testing.assert_close(double.logits(images(4)), exact)
    torch.testing.assert_close(single.logits(images(4)).double(), exact, atol=1e-5, rtol=1e-4)
    native = load(put(tmp_path, exported(small().double())))
    assert native.dtype == torch.float64
    assert torch.equal(native.logits(images(4)), double.logits(images(4)))


def test_normalisation_comes_first(archive: bytes, tmp_path: Path) -> None:
    path = put(tmp_path, archive)
    mean, std = (Fraction(1, 2), Fraction(1, 4), Fraction(0)), (Fraction(1, 2), Fraction(1, 5), Fraction(2))
    plain, normalized = load(path), load(path, normalize=Normalize(mean, std))
    m, s = (torch.tensor([float(v) for v in vs])[:, None, None] for vs in (mean, std))
    assert torch.equal(normalized.logits(images(3)), plain.logits((images(3) - m) / s))


def test_no_gradient_autocast_or_tf32(archive: bytes, tmp_path: Path) -> None:
    model = load(put(tmp_path, archive))
    expected = model.logits(images(3))
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.enable_grad():
        inside = model.logits(images(3).requires_grad_())
    assert torch.equal(inside, expected)
    assert not inside.requires_grad
    before = torch.backends.mkldnn.conv.fp32_precision
    model.logits(images(1))
    assert torch.backends.mkldnn.conv.fp32_precision == before


def test_wrong_images(archive: bytes, tmp_path: Path) -> None:
    model = load(put(tmp_path, archive))
    for shape in [(1, 3, 8, 9), (3, 8, 8), (1, 1, 8, 8)]:
        with pytest.raises(ForwardFailed):
            model.logits(torch.zeros(shape))


class Two(nn.Module):
    """Two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return two tensors."""
        return self.conv(image), image


class Pooled(Two):
    """One vector for each row of an image: no map, and no decision about the whole."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Return one vector per row."""
        return self.conv(image).mean(3)


class Dropping(Two):
    """Randomness left in."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Drop always."""
        return nn.functional.dropout(self.conv(image), training=True)


class Counting(Two):
    """State that changes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, image: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Count calls."""
        self.count.add_(1)
        return self.conv(image) + self.count


class Writing(Two):
    """State that changes without being declared, through a view."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Return what a weight was changed to."""
        return self.conv(image)


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        (Two(), ModelChoice),
        (Pooled(), ModelInterface),
        (Dropping(), UnknownOperator),
        (Counting(), ModelInterface),
    ],
)
def test_other_interfaces(tmp_path: Path, module: nn.Module, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        load(put(tmp_path, exported(module)))


class WithoutGradients(Two):
    """Switches gradients off by itself."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Halve the image without gradients."""
        with torch.no_grad():
            half = image / 2
        return self.conv(half)


def test_gradients_switched_off_inside_are_mended_outside(tmp_path: Path) -> None:
    with pytest.raises(UnknownOperator, match="wrap_with_set_grad_enabled") as caught:
        load(put(tmp_path, exported(WithoutGradients())))
    assert "robspec export --arch" in caught.value.mend
    with torch.no_grad():
        load(put(tmp_path, exported(WithoutGradients().eval())))


def test_instance_norm_is_told_from_training_mode(tmp_path: Path) -> None:
    def mend(module: nn.Module) -> str:
        with pytest.raises(UnknownOperator, match="instance_norm") as caught:
            load(put(tmp_path, exported(nn.Sequential(nn.Conv2d(3, 2, 1), module))))
        return caught.value.mend

    own, running = nn.InstanceNorm2d(2), nn.InstanceNorm2d(2, track_running_stats=True)
    assert "track_running_stats=True" in mend(own.eval())
    assert mend(running.train()).startswith("call model.eval()")
    load(put(tmp_path, exported(nn.Sequential(nn.Conv2d(3, 2, 1), running).eval())))


def test_two_inputs(tmp_path: Path) -> None:
    class Sum(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a + b

    buffer = io.BytesIO()
    torch.export.save(torch.export.export(Sum(), (images(1), images(1))), buffer)
    with pytest.raises(ModelInterface, match="2 inputs"):
        load(put(tmp_path, buffer.getvalue()))


@pytest.mark.parametrize("shape", [(8,), (8, 8)])
def test_not_images(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelInterface, match="not \\[B, C, H, W\\]"):
        load(put(tmp_path, exported(nn.Linear(8, 2), shape=shape)))


def test_weights_are_never_written_to(tmp_path: Path) -> None:
    """An in-place operator on a weight, not declared as a mutation, is found without running it."""
    import json

    content = records(exported(Writing()))
    name = next(n for n in content if n.endswith("models/model.json"))
    program = json.loads(content[name])
    graph = program["graph_module"]["graph"]
    weight = graph["inputs"][0]["as_tensor"]["name"]
    graph["tensor_values"]["changed"] = graph["tensor_values"][weight]
    graph["nodes"].insert(
        0,
        {
            "target": "torch.ops.aten.add_.Tensor",
            "inputs": [
                {"name": "self", "arg": {"as_tensor": {"name": weight}}, "kind": 1},
                {"name": "other", "arg": {"as_float": 1.0}, "kind": 1},
            ],
            "outputs": [{"as_tensor": {"name": "changed"}}],
            "metadata": {},
            "name": "changed",
        },
    )
    content[name] = json.dumps(program).encode()
    with pytest.raises(ModelInterface, match="writes to its own weights"):
        load(put(tmp_path, packed(content)))


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's own in the current folder."""
    source = "import torch\nfrom torch import nn\ndef build():\n"
    source += "    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))\n"
    source += "def broken():\n    return 1 / 0\ndef other():\n    return 3\n"
    (tmp_path / "own_network.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "own_network", raising=False)
    return "own_network:build"


def safetensors(weights: dict[str, torch.Tensor]) -> bytes:
    """The format by hand."""
    import json

    table, body = {}, b""
    for key, tensor in weights.items():
        raw = tensor.contiguous().numpy().tobytes()
        table[key] = {
            "dtype": "F32",
            "shape": list(tensor.shape),
            "data_offsets": [len(body), len(body) + len(raw)],
        }
        body += raw
    head = json.dumps(table).encode()
    return len(head).to_bytes(8, "little") + head + body


def own() -> nn.Sequential:
    """What the factory builds, with known weights."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))


@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_weights_with_an_architecture(tmp_path: Path, factory: str, kind: str) -> None:
    module = own()
    buffer = io.BytesIO()
    torch.save(module.state_dict(), buffer)
    blob = buffer.getvalue() if kind == "pt" else safetensors(dict(module.state_dict()))
    path = put(tmp_path, blob, f"w.{kind}")
    with pytest.raises(BareWeights):
        load(path)
    model = load(path, arch=factory, input_shape=(3, 8, 8))
    assert model.sha256 == hashlib.sha256(blob).hexdigest()
    torch.testing.assert_close(model.logits(images(3)), module(images(3)).detach())


def test_an_archive_takes_no_architecture(archive: bytes, tmp_path: Path, factory: str) -> None:
    with pytest.raises(ArchitectureError, match="its own network") as caught:
        load(put(tmp_path, archive), arch=factory, input_shape=(3, 8, 8))
    assert "leave --arch out" in caught.value.mend


def test_architecture_errors(tmp_path: Path, factory: str) -> None:
    buffer = io.BytesIO()
    torch.save(Small().state_dict(), buffer)
    path = put(tmp_path, buffer.getvalue(), "w.pt")
    for arch in (
        factory,
        "own_network:broken",
        "own_network:other",
        "own_network:none",
        "nothing:x",
        "own_network",
    ):
        with pytest.raises(ArchitectureError):
            load(path, arch=arch, input_shape=(3, 8, 8))


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[:-4],
        lambda b: b.replace(b'"F32"', b'"X99"'),
        lambda b: b.replace(b"[4, 3, 3, 3]", b"[4, 3, 3, 4]"),
    ],
)
def test_damaged_safetensors(tmp_path: Path, factory: str, damage: object) -> None:
    blob = damage(safetensors(dict(own().state_dict())))  # type: ignore[operator]
    with pytest.raises(InconsistentArchive):
        load(put(tmp_path, blob, "w.safetensors"), arch=factory, input_shape=(3, 8, 8))


@pytest.mark.real_data
@pytest.mark.skipif(not KVASIR.is_dir(), reason=f"no {KVASIR.name} data beside the checkout")
@pytest.mark.parametrize("kind", ["unit", "raw"])
def test_kvasir_archives(kind: str) -> None:
    """The clean archive computes exactly what torch.export.load gives for the original."""
    path = KVASIR / f"lipnet_deeplabv3_s_{kind}.pt2"
    model = load(path)
    assert model.batch == BatchSizes(1, 64)
    given = images(2, (3, 256, 256))
    with torch.no_grad():
        expected = torch.export.load(str(path)).module()(given)
    assert torch.equal(model.logits(given), expected)

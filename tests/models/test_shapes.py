"""Declared shapes are held against computed ones, by tensors without data where they can run the program."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export

from robspec.models import shapes
from robspec.models.errors import InconsistentArchive, ModelInterface
from robspec.models.rebuild import rebuild
from robspec.models.sanitise import check_archive
from tests.models import archives


class Made(nn.Module):
    """Makes tensors of its own and casts, beside a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        ramp = torch.arange(4, device="cpu").to(torch.float32)
        return self.conv(image.double().to(torch.float32)) + torch.zeros(4, 4) + ramp


class Counting(nn.Module):
    """Reads a number from a tensor, which needs data."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Tensor
        self.register_buffer("counts", torch.ones(2))

    def forward(self, image: Tensor) -> Tensor:
        return image[:, :2] * self.counts.sum().item()


class Writing(nn.Module):
    """Counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, image: Tensor) -> Tensor:
        self.calls.add_(1)
        return image[:, :2] + self.calls


def traced(module: nn.Module) -> ExportedProgram:
    with torch.no_grad():
        return export(module.eval(), (torch.rand(2, 3, 4, 4),), dynamic_shapes=({0: Dim("b", min=1, max=64)},))


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_without_data_where_that_can_be_done(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    program = traced(Made())
    fake = shapes.FakeTensorMode
    monkeypatch.setattr(shapes, "FakeTensorMode", None)
    found = shapes.check_shapes(program, (batch, 3, 4, 4), torch.float32, "m")
    monkeypatch.setattr(shapes, "FakeTensorMode", fake)
    monkeypatch.setattr(shapes, "_agreed", lambda *_: None)
    expected = shapes.check_shapes(program, (batch, 3, 4, 4), torch.float32, "m")
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype) == ((batch, 2, 4, 4), torch.float32)


def test_what_needs_data_is_computed_the_other_way() -> None:
    program = traced(Counting())
    assert shapes._agreed(program, (1, 3, 4, 4), torch.float32, "m") is None
    with pytest.raises(InconsistentArchive):
        shapes.check_shapes(program, (1, 3, 4, 4), torch.float64, "m")


def test_a_false_shape_is_named() -> None:
    program = traced(Made())
    node = next(n for n in program.graph.nodes if "conv" in n.name and n.op == "call_function")
    node.meta["val"] = node.meta["val"][:, :1]
    with pytest.raises(InconsistentArchive, match=r"(?s)the file says \[1, 1, 4, 4\].*conv"):
        shapes.check_shapes(program, (1, 3, 4, 4), torch.float32, "m")


def test_a_write_to_a_buffer_is_refused() -> None:
    with pytest.raises(ModelInterface, match="writes to its own weights"):
        shapes.check_shapes(traced(Writing()), (1, 3, 4, 4), torch.float32, "m")


def test_a_file_that_passed_is_not_checked_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "directory", lambda kind: tmp_path / kind)
    blob = archives.exported(archives.small())
    program = rebuild(check_archive(blob, "m"))
    asked: list[int] = []
    checked = shapes._checked
    monkeypatch.setattr(shapes, "_checked", lambda *given: asked.append(given[1][0]) or checked(*given))
    for size in (1, 2, 1, 2):
        found = shapes.check_shapes(program, (size, 3, 8, 8), torch.float32, "m")
        assert (found.shape, found.dtype) == ((size, 2, 8, 8), torch.float32)
    assert asked == [1, 2]
    other = rebuild(check_archive(archives.exported(archives.small(), shape=(3, 4, 4)), "m"))
    assert shapes.check_shapes(other, (1, 3, 4, 4), torch.float32, "m").shape == (1, 2, 4, 4)
    for entry in (tmp_path / "shapes").iterdir():
        entry.write_text(entry.read_text().replace("[1, 2, 8, 8]", "[1, 9, 8, 8]"))
    assert shapes.check_shapes(program, (1, 3, 8, 8), torch.float32, "m").shape == (1, 2, 8, 8)
    assert asked == [1, 2, 1, 1]

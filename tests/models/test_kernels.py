"""What computes a float32 program: asked of torch, and refused where it is not known to add up products."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from robspec.models import kernels
from robspec.models.errors import OtherKernels
from robspec.models.export import export_archive
from robspec.models.kernels import refuse_other_kernels
from robspec.models.loading import LoadedModel, load


class Every(nn.Module):
    """Convolutions of every kind: plain, in groups, dilated, transposed, of one side."""

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.grouped = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        self.dilated, self.up = nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.ConvTranspose2d(4, 6, 2, stride=2)
        self.line, self.last = nn.Conv1d(6, 2, 3, padding="same"), nn.Linear(16, 16)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = self.up(self.dilated(self.grouped(self.plain(images))))
        rows = self.line(found.movedim(2, 1).flatten(0, 1)).unflatten(0, (-1, 16)).movedim(1, 2)
        return self.last(rows)


def model(path: Path, *, accumulates: bool = False) -> LoadedModel:
    net = Every().eval()
    net.line.padding = (1,)
    path.write_bytes(export_archive(net, None, (3, 8, 8), 32, "net", accumulates=accumulates).archive)
    return load(path)


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return model(tmp_path_factory.mktemp("kernels") / "every.pt2")


def test_what_computes_each_convolution_is_said(every: LoadedModel, tmp_path: Path) -> None:
    found = refuse_other_kernels(every, 32).split(", ")
    assert found
    assert set(found) <= kernels._SUMS
    wide = refuse_other_kernels(model(tmp_path / "wide.pt2", accumulates=True), 32)
    assert "Mkldnn" not in wide


def test_padding_by_a_word_is_named_with_a_mend(tmp_path: Path) -> None:
    net = nn.Conv2d(3, 2, 3, padding="same").eval()
    path = tmp_path / "word.pt2"
    path.write_bytes(export_archive(net, None, (3, 8, 8), 32, "net").archive)
    with pytest.raises(OtherKernels, match=r"padding='same'.*export it with numbers"):
        refuse_other_kernels(load(path), 8)


@contextmanager
def _precision() -> Iterator[None]:
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


@contextmanager
def _flushed() -> Iterator[None]:
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@contextmanager
def _without_onednn() -> Iterator[None]:
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (_precision, "shortened"),
        (_flushed, "below the normal"),
        (_without_onednn, "NNPACK"),
        (lambda: torch.autocast("cpu"), "autocast"),
    ],
)
def test_what_allows_other_arithmetic_is_refused(
    every: LoadedModel, setting: Callable[[], object], said: str
) -> None:
    with setting(), pytest.raises(OtherKernels, match=said):
        refuse_other_kernels(every, 32)


@pytest.mark.parametrize("name", ["ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"])
def test_modes_of_onednn_are_refused(every: LoadedModel, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "strict")
    refuse_other_kernels(every, 2)
    monkeypatch.setenv(name, "BF16")
    with pytest.raises(OtherKernels, match=name):
        refuse_other_kernels(every, 2)


def test_a_head_that_ties_in_float32_is_refused(tmp_path: Path) -> None:
    class Head(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.softmax(images * 0.5, 1)

    path = tmp_path / "head.pt2"
    path.write_bytes(export_archive(Head(), None, (3, 4, 4), 8, "net").archive)
    with pytest.raises(OtherKernels, match="tie where logits do not"):
        refuse_other_kernels(load(path), 2)


def test_a_choice_that_is_not_known_is_refused(every: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_SUMS", frozenset({"Slow2d"}))
    with pytest.raises(OtherKernels, match="of which nothing is known"):
        refuse_other_kernels(every, 32)
    monkeypatch.setattr(kernels.platform, "machine", lambda: "aarch64")
    with pytest.raises(OtherKernels, match="aarch64"):
        refuse_other_kernels(every, 32)


def test_large_batches_are_asked_about_too(every: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """With oneDNN off NNPACK computes batches of 16 and more: the choice itself says so, not only the setting."""
    monkeypatch.setattr(type(torch.backends.mkldnn), "enabled", True)
    with _without_onednn(), pytest.raises(OtherKernels, match="are computed by NnpackSpatial"):
        refuse_other_kernels(every, 32)

"""Archives of several outputs and of free sides: one function of an image of one size is taken out of them."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.nn import functional

from robspec.models.choice import Choice
from robspec.models.errors import ModelChoice
from robspec.models.loading import load
from robspec.models.reworking import rework


class Several(nn.Module):
    """A head beside an auxiliary one, as torchvision's segmenters return them."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 4, 3, 2, 1), nn.ConvTranspose2d(4, 2, 2, 2)
        self.aux = nn.Conv2d(4, 2, 1)

    def forward(self, images: Tensor) -> Any:
        low = functional.relu(self.down(images))
        return {"out": self.up(low), "aux": (self.aux(low), low.sum())}


@pytest.fixture(scope="module")
def network() -> Several:
    torch.manual_seed(0)
    return Several().eval()


@pytest.fixture(scope="module")
def path(network: Several, tmp_path_factory: pytest.TempPathFactory) -> Path:
    sides = {0: Dim("b", min=1, max=8), 2: 2 * Dim("h", min=2, max=40), 3: 2 * Dim("w", min=2, max=40)}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        program = torch.export.export(network, (torch.rand(2, 3, 16, 20),), dynamic_shapes=(sides,), strict=False)
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
    found = tmp_path_factory.mktemp("several") / "model.pt2"
    found.write_bytes(buffer.getvalue())
    return found


def test_an_output_and_a_size_are_taken(path: Path, network: Several) -> None:
    found = load(path, input_shape=(3, 12, 6), choice=Choice(output="out"))
    assert (found.input_shape, found.output_shape, str(found.batch)) == ((3, 12, 6), (2, 12, 6), "1 to 8")
    images = torch.rand(3, 3, 12, 6)
    with torch.no_grad():
        torch.testing.assert_close(found.logits(images), network(images)["out"])
        inner = load(path, choice=Choice(output="aux.0", shape=(3, 8, 8)))
        torch.testing.assert_close(
            inner.logits(images[:, :, :8].repeat(1, 1, 1, 2)[..., :8]).shape, torch.Size([3, 2, 4, 4])
        )
    assert not any(
        "up" in str(n.meta.get("nn_module_stack")) for n in inner.program.graph.nodes if n.op == "call_function"
    )


@pytest.mark.parametrize(
    ("choice", "what", "mend"),
    [
        (Choice(), "3 outputs: out, aux.0, aux.1", "--output out"),
        (Choice(output="logits"), "returns nothing called 'logits'", "out, aux.0, aux.1"),
        (Choice(output="out"), "takes images of [B, 3, H, W]", "--input 3,256,256"),
        (Choice(output="out", shape=(3, 13, 8)), "height 4 to 80, in steps of 2, not 13", "resize"),
        (Choice(output="out", shape=(3, 8, 100)), "width 4 to 80, in steps of 2, not 100", "resize"),
        (Choice(output="out", image="x"), "named and fixed in an ONNX graph", "leave out"),
    ],
)
def test_what_has_to_be_chosen_is_said(path: Path, choice: Choice, what: str, mend: str) -> None:
    with pytest.raises(ModelChoice) as refused:
        load(path, choice=choice)
    assert what in refused.value.what
    assert mend in refused.value.mend


def test_it_becomes_an_archive_of_its_own(path: Path, tmp_path: Path, network: Several) -> None:
    made = rework(path, Choice(output="out", shape=(3, 8, 8)))
    (tmp_path / "one.pt2").write_bytes(made.archive)
    assert (made.images, made.logits, made.batch) == ("3 x 8 x 8", "2 x 8 x 8", "batches of 1 to 8")
    images = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(load(tmp_path / "one.pt2").logits(images), network(images)["out"])

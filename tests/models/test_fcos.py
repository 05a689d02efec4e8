"""The detector: scores proved at the design constant, boxes as they are, one function before and after export."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from robspec.bounds.scene import centres_of
from robspec.ir.types import Detector
from robspec.lipschitz.prove import prove
from robspec.models.errors import ModelDesign
from robspec.models.export import export_archive
from robspec.models.lipnets.fcos import SIZES, LipFCOS
from robspec.models.lipnets.kit import LayerKit
from robspec.models.lipnets.residual import Residual
from robspec.models.loading import LoadedModel, load
from robspec.semantics.norm import L2
from tests.examples import examples

SHAPE = (3, 32, 32)
STD = (0.25, 0.3, 0.5)
FROZEN = Detector("sigmoid", Fraction(1, 2), Fraction(3, 5), "overlap", Fraction(1, 2), 1, "frozen")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only lose time to a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(
    kit: LayerKit, channels: tuple[int, ...] = (12, 16, 16), depths: tuple[int, ...] = (1, 0, 0), steps: int = 3
) -> LipFCOS:
    """A detector after some steps, so that means, shares and biases are not what they start from."""
    torch.manual_seed(1)
    network = LipFCOS(2, SHAPE, channels, depths, kit=kit, std=STD).train()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    for _ in range(steps):
        scores, boxes = network(torch.rand(4, *SHAPE))
        loss = (scores - 1).square().mean() + (boxes / 32).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def network() -> LipFCOS:
    torch.set_num_threads(1)
    return trained(LayerKit())


@pytest.fixture(scope="module")
def model(network: LipFCOS, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    path = tmp_path_factory.mktemp("fcos") / "model.pt2"
    path.write_bytes(export_archive(network.settled(), None, SHAPE, 8, "fcos").archive)
    return load(path, detector=FROZEN, boxes=True)


def test_scores_are_proved_at_the_design_constant(network: LipFCOS, model: LoadedModel) -> None:
    assert network.design_lipschitz == 4.0
    value = prove(model.program, input_norm=L2, output_norm=L2).value
    assert 3.9 < value <= 4 * Fraction(10001, 10000)


def test_boxes_are_proved_as_they_are(model: LoadedModel) -> None:
    assert model.second is not None
    value = float(prove(model.second.program, input_norm=L2, output_norm=L2).value)
    assert 1 < value < math.inf


def test_the_archive_computes_what_the_network_does(network: LipFCOS, model: LoadedModel) -> None:
    images = torch.rand(3, *SHAPE)
    with torch.no_grad():
        scores, boxes = network(images)
    assert (scores.shape, boxes.shape) == ((3, 2, 84), (3, 4, 84))
    assert (model.output_shape, model.second and model.second.output_shape) == ((2, 84), (4, 84))
    assert model.second is not None
    assert torch.allclose(model.logits(images)[:, :, 0], scores, atol=1e-4)
    assert torch.allclose(model.second.logits(images)[:, :, 0], boxes, atol=1e-3)
    assert bool((boxes[:, 2:] > boxes[:, :2]).all())


def test_no_direction_moves_all_scores_further_than_the_design(network: LipFCOS) -> None:
    """Power iteration on the derivative at random images: levels together, not each for itself."""
    plain = network.settled()
    torch.manual_seed(2)
    image = torch.rand(1, *SHAPE)

    def flat(x: Tensor) -> Tensor:
        found: Tensor = plain(x)[0].flatten()
        return found

    direction, size = torch.randn_like(image), 0.0
    for _ in range(12):
        direction = direction / direction.norm()
        _, pushed = torch.autograd.functional.jvp(flat, image, direction)
        size = float(pushed.norm())
        _, direction = torch.autograd.functional.vjp(flat, image, pushed)
    assert 0.5 < size <= 4.0004


def test_the_locations_are_those_of_a_specification() -> None:
    with torch.device("meta"):
        twin = LayerKit(lipschitz=False)
        for side, (patch, channels, _) in SIZES.items():
            found = LipFCOS(1, (3, side, side), kit=twin)
            assert found.strides == tuple(patch * 2 ** (k + 1) for k in range(len(channels)))
    for shape in ((3, 32, 64), (3, 64, 16)):
        found = LipFCOS(1, shape, (12, 16, 16), (0, 0, 0), kit=twin)
        assert np.array_equal(found.centres[:2].T.numpy(), centres_of(found.strides, *shape[1:]))
        assert torch.equal(found.centres[:2], found.centres[2:])


def test_the_twin_exports_and_is_proved_uselessly(tmp_path: Path) -> None:
    twin = trained(LayerKit(lipschitz=False), (8, 12), (1, 0))
    assert twin.design_lipschitz is None
    (tmp_path / "twin.pt2").write_bytes(export_archive(twin.settled(), None, SHAPE, 8, "twin").archive)
    value = prove(load(tmp_path / "twin.pt2", detector=FROZEN, boxes=True).program, input_norm=L2, output_norm=L2)
    assert value.value > 10


@pytest.mark.parametrize("share", [-30.0, 0.0, 30.0])
def test_a_residual_layer_is_a_mean_of_both_ways(share: float) -> None:
    layer = Residual(LayerKit(), 4).eval()
    assert layer.share is not None
    with torch.no_grad():
        layer.share.fill_(share)
        x = torch.randn(2, 4, 6, 6)
        inner = layer.inner((x, 1.0))[0]
        found = layer((x, 1.0))[0]
    a = 1 / (1 + math.exp(-share))
    assert torch.allclose(found, a * x + (1 - a) * inner, atol=1e-5)


@pytest.mark.parametrize(
    ("channels", "depths"),
    [((16, 16, 16), (0, 0, 0)), ((12, 16), (1,)), ((12,), (1,))],
    ids=["share", "depths", "one"],
)
def test_what_cannot_be_built(channels: tuple[int, ...], depths: tuple[int, ...]) -> None:
    with pytest.raises(ModelDesign, match="E0216"):
        LipFCOS(1, SHAPE, channels, depths, kit=LayerKit(lipschitz=False))


@pytest.mark.skipif(examples(40) <= 40, reason="`make test-deep` proves every size")
@pytest.mark.parametrize("side", SIZES)
def test_every_size_is_proved(side: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = LipFCOS(3, (3, side, side), kit=LayerKit()).eval()
    (tmp_path / "m.pt2").write_bytes(export_archive(network.settled(), None, (3, side, side), 8, "fcos").archive)
    program = load(tmp_path / "m.pt2", detector=FROZEN, boxes=True).program
    assert 0.9 < prove(program, input_norm=L2, output_norm=L2).value <= Fraction(10001, 10000)

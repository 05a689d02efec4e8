"""Networks of one score: exported as [B, 1], proved at their design constant, with the slope of a distance."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator

import pytest
import torch

from robspec.lipschitz.prove import prove
from robspec.models.errors import ModelDesign
from robspec.models.export import export_archive
from robspec.models.lipnets.kit import LayerKit
from robspec.models.lipnets.score import LipConvNet, LipMLP, ScoreNet
from robspec.semantics.norm import L2

BUILDERS: dict[str, Callable[[LayerKit], ScoreNet]] = {
    "mlp": lambda kit: LipMLP((2, 3, 5), (16, 8), (1, 0), kit=kit, mean=(0.5, 0.4), std=(0.25, 0.5)),
    "convnet": lambda kit: LipConvNet((1, 8, 4), (4, 16), (1, 0), kit=kit, std=(0.25,)),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only lose time to a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("kit", [LayerKit(), LayerKit(rms_scaling=True), LayerKit(lipschitz=False)], ids=str)
def test_the_export_is_proved_at_the_design(name: str, kit: LayerKit) -> None:
    torch.manual_seed(1)
    network = BUILDERS[name](kit).train()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        (network(torch.rand(4, *network.shape)) - 1).square().mean().backward()
        optimizer.step()
    network.eval()
    images = torch.rand(5, *network.shape)
    plain = network.settled()
    with torch.no_grad():
        assert plain(images).shape == (5, 1)
        assert torch.allclose(plain(images), network(images), atol=1e-3)
    made = export_archive(plain, None, network.shape, 8, name)  # type: ignore[arg-type]
    assert made.output_shape == (1,)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.load(io.BytesIO(made.archive))
    bound = prove(program, input_norm=L2, output_norm=L2).bound
    if not kit.lipschitz:
        assert network.design_lipschitz is None
        return
    assert network.design_lipschitz == 4
    assert bound <= 4.0004
    images.requires_grad_()
    (slope,) = torch.autograd.grad(plain(images).sum(), images)
    assert float(slope.flatten(1).norm(dim=1).max()) <= bound


def test_layers_that_do_not_narrow_keep_the_slope() -> None:
    """Square orthogonal matrices and permutations turn a gradient, and the row of the head has length 1."""
    torch.manual_seed(0)
    network = LipMLP((1, 4, 4), (16,), (2,), kit=LayerKit()).eval()
    images = torch.rand(6, 1, 4, 4, requires_grad=True)
    (slope,) = torch.autograd.grad(network(images).sum(), images)
    assert torch.allclose(slope.flatten(1).norm(dim=1), torch.ones(6), atol=1e-3)


@pytest.mark.parametrize(
    ("build", "what"),
    [
        (lambda: LipConvNet((1, 6, 8), (4, 16), (1, 1), kit=LayerKit()), "stride of 4"),
        (lambda: LipMLP((3, 4, 4), kit=LayerKit()), "1 channels of normalisation"),
        (lambda: LipMLP((4, 4), kit=LayerKit()), r"\[4, 4\]"),
        (lambda: LipMLP((1, 4, 4), (8,), (), kit=LayerKit()), "as many as channels"),
        (lambda: LipMLP((1, 4, 4), (), (), kit=LayerKit()), "as many as channels"),
        (lambda: LipConvNet((1, 4, 4), (8,), (1, 1), kit=LayerKit()), "as many as channels"),
    ],
)
def test_what_cannot_be_built_is_refused(build: Callable[[], ScoreNet], what: str) -> None:
    with pytest.raises(ModelDesign, match=what):
        build()

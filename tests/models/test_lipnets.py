"""Each architecture exports, is proved at its design constant, and computes what its modules compute."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robspec.lipschitz.prove import prove
from robspec.lipschitz.tail import find
from robspec.models.errors import ModelDesign
from robspec.models.export import export_archive
from robspec.models.lipnets.activations import GroupSort, MaxMin, activation
from robspec.models.lipnets.deeplab import SIZES, LipDeepLabV3, halvings
from robspec.models.lipnets.fcn import LipFCN
from robspec.models.lipnets.kit import LayerKit
from robspec.models.lipnets.network import SegmentationNet
from robspec.models.lipnets.unet import LipUNet
from robspec.models.lipnets.unit import Unit
from robspec.semantics.norm import L2
from tests.examples import examples

SIDE = 32
STD = (0.25, 0.3, 0.5)
BUILDERS: dict[str, Callable[[LayerKit], SegmentationNet]] = {
    "fcn": lambda kit: LipFCN(3, (12, 16), (1, 2), kit=kit, std=STD),
    "unet": lambda kit: LipUNet(3, (8, 16, 32), (1, 1, 1), kit=kit, std=STD),
    "unet of four levels": lambda kit: LipUNet(3, (8, 16, 32, 64), (1, 1, 1, 1), kit=kit, std=STD),
    "deeplabv3": lambda kit: LipDeepLabV3(3, ((8, 2), (16, 2)), kit=kit, std=STD),
    "fcn to 4": lambda kit: LipFCN(3, (12, 16, 16), (1, 1, 1), kit=kit, std=STD, tail=4),
    "deeplabv3 to 4": lambda kit: LipDeepLabV3(3, ((8, 1), (16, 1)), kit=kit, std=STD, tail=4),
    "one logit": lambda kit: LipFCN(1, (12,), (1,), kit=kit, std=STD),
}
KITS = {
    "maxmin": LayerKit(),
    "groupsort4": LayerKit(activation="groupsort4"),
    "rms": LayerKit(rms_scaling=True),
    "twin": LayerKit(lipschitz=False),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only lose time to a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(build: Callable[[LayerKit], SegmentationNet], kit: LayerKit) -> SegmentationNet:
    """A network after some steps, so that means, gains and biases are not what they start from."""
    torch.manual_seed(1)
    network = build(kit).train()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    for _ in range(6):
        loss = (network(torch.rand(4, 3, SIDE, SIDE)) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def exported(network: SegmentationNet) -> torch.export.ExportedProgram:
    made = export_archive(network.settled(), None, (3, SIDE, SIDE), 8, network.architecture)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.load(io.BytesIO(made.archive))


PAIRS = [
    (name, kind)
    for name in BUILDERS
    for kind in ("maxmin", "groupsort4", "rms")
    if examples(40) > 40
    or name == "fcn"
    or (name, kind) in {("fcn to 4", "maxmin"), ("deeplabv3 to 4", "maxmin")}
    or (name, kind) in {("unet", "rms"), ("unet of four levels", "groupsort4"), ("deeplabv3", "maxmin")}
    or (name, kind) == ("one logit", "maxmin")
]
"""Every architecture and every kind of layer; in the deep profile every pair of them."""


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_the_proof_stays_within_the_design(name: str, kind: str) -> None:
    network = trained(BUILDERS[name], KITS[kind])
    tail = 4 if name.endswith(" to 4") else 1
    assert network.design_lipschitz == 4.0 * tail
    program = exported(network)
    found = find(program)
    assert (found is not None) == (tail > 1)
    if found is not None:
        assert (found.sides, found.grid.shape) == ((SIDE // 4, SIDE // 4), (SIDE, SIDE))
        assert prove(found.coarse, input_norm=L2, output_norm=L2).bound <= 1.0001 * 4.0
    bound = prove(program, input_norm=L2, output_norm=L2).bound / tail
    assert bound <= 1.0001 * 4.0
    assert steepest(program.module(), 8) <= bound * tail
    if not name.startswith("deeplabv3"):  # what its projection drops makes it a little tighter than designed
        assert bound >= 4.0 * (1 - 1e-3)


def steepest(network: Callable[[Tensor], Tensor], tries: int) -> float:
    """The largest ratio of distances among some pairs of images, each widened along its own gradient."""
    found = 0.0
    for seed in range(tries):
        generator = torch.Generator().manual_seed(seed)
        image = torch.rand((1, 3, SIDE, SIDE), generator=generator)
        step = torch.randn(image.shape, generator=generator)
        for _ in range(15):
            step = step / step.norm()
            moved = image.clone().requires_grad_()
            difference = network(image + step).detach() - network(moved)
            found = max(found, float(difference.detach().norm()))
            (pull,) = torch.autograd.grad((difference * difference.detach()).sum(), moved)
            step = -pull
    return found


@pytest.mark.parametrize(("name", "kind"), [*PAIRS, ("fcn", "twin"), ("deeplabv3", "twin")])
def test_settling_changes_no_logit(name: str, kind: str) -> None:
    network = trained(BUILDERS[name], KITS[kind])
    images = torch.rand(2, 3, SIDE, SIDE)
    with torch.no_grad():
        for _ in range(60):  # each pass advances the power iterations inside the weights
            before = network(images)
        after = network.settled()(images)
    assert after.shape == (2, 1 if name == "one logit" else 3, SIDE, SIDE)
    assert torch.allclose(before, after, atol=2e-4 * float(before.abs().max() + 1))
    kinds = {type(m) for m in network.settled().modules()}
    assert not any("Centring" in k.__name__ or "BatchNorm" in k.__name__ for k in kinds)


@pytest.mark.parametrize("name", BUILDERS)
def test_the_twin_has_the_same_shape(name: str) -> None:
    ours, twin = (BUILDERS[name](KITS[k]).settled() for k in ("maxmin", "twin"))
    layers = [
        [(type(m), m.weight.shape, m.stride) for m in n.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        for n in (ours, twin)
    ]
    assert layers[0] == layers[1]
    assert BUILDERS[name](KITS["twin"]).design_lipschitz is None


def test_gains_are_really_there_and_really_cancel() -> None:
    network = trained(BUILDERS["unet"], KITS["rms"])
    gains = [float(m.rms) for m in network.modules() if isinstance(m, Unit) and m.scaled]
    assert max(abs(math.log(g)) for g in gains) > 0.1


def test_activations_permute() -> None:
    features = torch.randn(2, 12, 3, 3)
    for module in (MaxMin(), MaxMin().eval(), GroupSort(3), activation("groupsort4")):
        found = module(features)
        assert torch.equal(found.sort(dim=1).values, features.sort(dim=1).values)
    assert torch.equal(MaxMin()(features), MaxMin().eval()(features))
    assert bool((GroupSort(4)(features).unflatten(1, (3, 4)).diff(dim=2) >= 0).all())


def test_every_size_can_be_built_without_its_numbers() -> None:
    expected = {"S": 8, "M1": 8, "M2": 16, "L": 16, "XL": 16}
    for size, stages in SIZES.items():
        with torch.device("meta"):
            network = LipDeepLabV3(11, stages, kit=KITS["twin"])
            assert network(torch.zeros(1, 3, 64, 64, device="meta")).shape == (1, 11, 64, 64)
        assert network.stride == expected[size]
        encoder = [m for m in network.encoder if isinstance(m, Unit)]
        assert len(encoder) == sum(depth for _, depth in stages)


def test_the_sizes_are_those_of_the_tables() -> None:
    assert SIZES["S"] == ((32, 3), (64, 3), (128, 3))
    assert SIZES["M1"] == ((64, 5), (128, 5), (256, 5))
    assert SIZES["M2"] == (*SIZES["M1"], (512, 5))
    assert (len(SIZES["L"]), SIZES["L"][0][0], SIZES["L"][-1][0]) == (7, 64, 512)
    assert (SIZES["XL"][0], SIZES["XL"][-1]) == ((128, 5), (2048, 5))
    assert halvings([64, 64, 128]) == [True, False, True]


def test_deeplab_s_is_proved() -> None:
    torch.manual_seed(0)
    network = LipDeepLabV3(11, SIZES["S"], kit=LayerKit()).eval()
    bound = prove(exported(network), input_norm=L2, output_norm=L2).bound
    assert bound <= 1.0001


def test_the_depth_of_xl_is_proved() -> None:
    """Every layer of XL at a sixty-fourth of its width: their roundings add up to less than 1.0001."""
    torch.manual_seed(0)
    stages = [(width // 64, depth) for width, depth in SIZES["XL"]]
    derivation = prove(exported(LipDeepLabV3(3, stages, kit=LayerKit()).eval()), input_norm=L2, output_norm=L2)
    assert 0.5 <= derivation.bound <= 1.0001
    assert max(row.bound for row in derivation.rows if row.rule == "conv2d") <= 1.000005


@pytest.mark.skipif(examples(40) <= 40, reason="minutes; `make test-deep` runs it")
@pytest.mark.parametrize("size", ["M1", "M2", "L"])
def test_the_larger_sizes_are_proved(size: str) -> None:
    """XL takes more than 20 minutes and 9 GB: `python -m benchmarks.proofs XL`."""
    torch.manual_seed(0)
    network = LipDeepLabV3(11, SIZES[size], kit=LayerKit()).eval()
    assert prove(exported(network), input_norm=L2, output_norm=L2).bound <= 1.0001


def test_normalisation_is_divided_by_and_not_multiplied() -> None:
    """A std of 1/4 makes the constant 4; a network that multiplied would have 1/4 and claim 4."""
    network = BUILDERS["fcn"](LayerKit())
    image = torch.rand(1, 3, SIDE, SIDE)
    scale = torch.tensor(STD)[:, None, None]
    plain = LipFCN(3, (12, 16), (1, 2), kit=LayerKit(), mean=(0.0, 0.0, 0.0))
    plain.load_state_dict({**network.state_dict(), "mean": plain.mean, "inverse": plain.inverse})
    expected = plain.settled()((image - 0.5) / scale)
    assert np.allclose(network.settled()(image).detach(), expected.detach(), atol=1e-4)


@pytest.mark.parametrize(
    "build",
    [
        lambda: activation("relu"),
        lambda: activation("groupsort1"),
        lambda: LipFCN(2, (16,), (1, 2), kit=LayerKit()),
        lambda: LipUNet(2, (16,), (1,), kit=LayerKit()),
        lambda: LipFCN(2, (16,), (1,), kit=LayerKit(), std=(1.0, 0.0, 1.0)),
        lambda: LipFCN(2, (16,), (1,), kit=LayerKit(), std=(1.0,)),
        lambda: LipFCN(2, (16,), (1,), kit=LayerKit(), tail=4),
        lambda: LipFCN(2, (16, 16), (1, 1), kit=LayerKit(), tail=3),
        lambda: LipDeepLabV3(2, ((16, 1), (32, 1)), kit=LayerKit(), tail=8),
    ],
)
def test_what_cannot_be_built_is_refused(build: Callable[[], object]) -> None:
    with pytest.raises(ModelDesign, match="E0216"):
        build()

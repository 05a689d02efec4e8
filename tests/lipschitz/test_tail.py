"""Where a network ends in a fixed up-sampling: which ends are read as such, and what they make of nodes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robspec.kernels.coarse.grid import Axis
from robspec.lipschitz.other_ends import other_end
from robspec.lipschitz.prove import prove
from robspec.lipschitz.replay import Replay
from robspec.lipschitz.tail import find
from robspec.lipschitz.upsampling import interpolation, matrix
from robspec.semantics.norm import L2
from tests.lipschitz.conftest import Export

SHAPE = (3, 10, 12)


class Ends(nn.Module):
    """A convolution of stride 2, and an end."""

    def __init__(self, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 2, 2, stride=2)
        self.end = end

    def forward(self, image: Tensor) -> Tensor:
        return self.end(torch.relu(self.convolution(image)) - 0.3)


def taps(down: list[float], along: list[float], like: Tensor) -> Tensor:
    """The same product of a column and a row for every channel."""
    made = torch.outer(torch.tensor(down, dtype=torch.float32), torch.tensor(along, dtype=torch.float32))
    return made.to(like.dtype).expand(like.shape[1], 1, -1, -1).contiguous()


def transposed(z: Tensor, factor: int) -> Tensor:
    """What fully convolutional networks end in: the taps of bilinear interpolation."""
    line = [1 - abs(t - factor + 0.5) / factor for t in range(2 * factor)]
    weight = taps(line, line, z)
    return functional.conv_transpose2d(z, weight, stride=factor, padding=factor // 2, groups=z.shape[1])


ENDS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, int], int]] = {
    # end, pixels, colours
    "x8": (lambda z: functional.interpolate(z, scale_factor=8, mode="bilinear"), (40, 48), 4),
    "aligned": (lambda z: functional.interpolate(z, size=(17, 19), mode="bilinear", align_corners=True), (17, 19), 4),
    "odd": (lambda z: functional.interpolate(z, size=(13, 31), mode="bilinear"), (13, 31), 4),
    "factor": (lambda z: functional.interpolate(z, scale_factor=1.7, mode="bilinear"), (8, 10), 4),
    "nearest": (lambda z: functional.interpolate(z, scale_factor=4, mode="nearest"), (20, 24), 1),
    "nearest odd": (lambda z: functional.interpolate(z, size=(13, 17), mode="nearest"), (13, 17), 1),
    "nearest exact": (lambda z: functional.interpolate(z, scale_factor=3, mode="nearest-exact"), (15, 18), 1),
    "crop": (lambda z: functional.interpolate(z, scale_factor=4, mode="bilinear")[:, :, 1:-2, 3:], (17, 21), 4),
    "crop twice": (
        lambda z: functional.interpolate(z, scale_factor=4, mode="bilinear")[..., 1:9, :][..., 2:, ::3],
        (6, 8),
        4,
    ),
    "cubic": (lambda z: functional.interpolate(z, scale_factor=4, mode="bicubic"), (20, 24), 16),
    "cubic aligned": (
        lambda z: functional.interpolate(z, size=(13, 19), mode="bicubic", align_corners=True),
        (13, 19),
        16,
    ),
    "cubic odd": (lambda z: functional.interpolate(z, size=(13, 17), mode="bicubic"), (13, 17), 16),
    "transposed": (lambda z: transposed(z, 4), (20, 24), 4),
    "transposed and cropped": (lambda z: transposed(z, 4)[..., 2:-2, 2:-2], (16, 20), 4),
    "transposed, other taps": (
        lambda z: functional.conv_transpose2d(
            z, taps([1, -2, 3], [2, 1, 0.5, 1], z), None, (2, 3), (0, 1), (0, 0), z.shape[1]
        ),
        (11, 17),
        4,
    ),
    "transposed, spread": (
        lambda z: functional.conv_transpose2d(z, taps([1, 3], [2, 1], z), padding=1, groups=z.shape[1], dilation=2),
        (5, 6),
        9,
    ),
    "copies": (
        lambda z: functional.interpolate(z, scale_factor=2, mode="bilinear").contiguous().clone(),
        (10, 12),
        4,
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_weights_are_those_of_the_network(name: str, export: Export) -> None:
    """The grid's cells hold the nodes that a dense matrix of the end has, and its lengths are the matrix's."""
    end, pixels, colours = ENDS[name]
    found = find(export(Ends(end), SHAPE))
    assert found is not None
    assert (found.grid.shape, found.sides, found.grid.colours) == (pixels, (5, 6), colours)
    assert found.grid.cells <= 30
    basis = torch.eye(30, dtype=torch.float64).reshape(30, 1, 5, 6)
    dense = end(basis).reshape(30, *pixels).numpy()
    nodes = np.arange(30)
    for y, x in np.ndindex(pixels):
        row = dense[:, y, x]
        used = nodes[np.abs(row) > 1e-9]
        down, across = used // 6, used % 6
        rows, columns = found.grid.rows, found.grid.columns
        assert np.all((down >= rows.cells[y]) & (down < rows.cells[y] + max(rows.colours, 1)))
        assert np.all((across >= columns.cells[x]) & (across < columns.cells[x] + max(columns.colours, 1)))
        assert rows.inverse[y] * columns.inverse[x] == pytest.approx(1 / float(row @ row), rel=1e-9)
        weights = np.zeros((5, 6))
        top, left = rows.cells[y], columns.cells[x]
        weights[top : top + rows.span, left : left + columns.span] = np.outer(rows.weights[y], columns.weights[x])
        assert weights.reshape(-1) == pytest.approx(row, abs=1e-9)


@pytest.mark.parametrize("name", ENDS)
def test_coarse_logits_are_enlarged_as_the_network_does(name: str, export: Export) -> None:
    network = Ends(ENDS[name][0])
    found = find(export(network, SHAPE))
    assert found is not None
    images = torch.randn(2, *SHAPE)
    with torch.no_grad():
        coarse = torch.relu(network.convolution(images)) - 0.3
        assert torch.equal(found.enlarge(coarse), network(images))


def test_the_constant_is_that_of_the_logits_before(export: Export) -> None:
    program = export(Ends(lambda z: functional.interpolate(z, scale_factor=8, mode="nearest")), SHAPE)
    found = find(program)
    assert found is not None
    low = prove(found.coarse, input_norm=L2, output_norm=L2).value
    full = prove(program, input_norm=L2, output_norm=L2).value
    assert full == pytest.approx(8 * float(low), rel=1e-6)  # type: ignore[comparison-overlap]
    images = torch.rand(2, *SHAPE, dtype=torch.float64)
    coarse, z = Replay(found.coarse)(images), Replay(program)(images)
    assert torch.equal(functional.interpolate(coarse, scale_factor=8, mode="nearest"), z)
    assert found.text.endswith("nearest x8, 5 x 6 to 40 x 48, 30 cells")


OTHERS: dict[str, Callable[[Tensor], Tensor]] = {
    "nothing": lambda z: z,
    "cubic, antialiased": lambda z: functional.interpolate(z, scale_factor=4, mode="bicubic", antialias=True),
    "transposed, classes mixed": lambda z: functional.conv_transpose2d(z, torch.ones(2, 2, 4, 4), stride=2),
    "transposed, classes apart": lambda z: functional.conv_transpose2d(
        z, torch.stack([torch.ones(1, 4, 4), 2 * torch.ones(1, 4, 4)]), stride=2, groups=2
    ),
    "transposed, no product": lambda z: functional.conv_transpose2d(
        z, (torch.ones(4, 4) + torch.eye(4)).expand(2, 1, 4, 4).contiguous(), stride=2, groups=2
    ),
    "transposed, a bias": lambda z: functional.conv_transpose2d(
        z, torch.ones(2, 1, 4, 4), torch.ones(2), stride=2, groups=2
    ),
    "transposed, a row of nothing": lambda z: functional.conv_transpose2d(
        z, torch.ones(2, 1, 3, 3), stride=2, output_padding=1, groups=2
    ),
    "transposed, with gaps": lambda z: functional.conv_transpose2d(z, torch.ones(2, 1, 1, 1), stride=2, groups=2),
    "transposed, tiny": lambda z: functional.conv_transpose2d(z, torch.full((2, 1, 4, 4), 1e-12), stride=2, groups=2),
    "antialiased": lambda z: functional.interpolate(z, scale_factor=4, mode="bilinear", antialias=True),
    "scaled after": lambda z: 2 * functional.interpolate(z, scale_factor=4, mode="bilinear"),
    "rectified after": lambda z: torch.relu(functional.interpolate(z, scale_factor=4, mode="bilinear")),
    "in place after": lambda z: functional.interpolate(z, scale_factor=4, mode="bilinear").relu_(),
    "two branches": lambda z: functional.interpolate(z, scale_factor=2, mode="bilinear") + z.repeat(1, 1, 2, 2),
    "classes left out": lambda z: functional.interpolate(z, scale_factor=4, mode="bilinear")[:, 1:],
    "transposed after": lambda z: functional.interpolate(z, scale_factor=4, mode="bilinear").transpose(2, 3),
    "doubles": lambda z: functional.interpolate(z, scale_factor=4, mode="bilinear").double(),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_ends_are_not_read_as_one(name: str, export: Export) -> None:
    assert find(export(Ends(OTHERS[name]), SHAPE)) is None


UNREAD = {
    # what is said, and how to export it
    "nothing": ("sub", "such an F.interpolate is the last it does"),
    "rectified after": ("relu_1", "such an F.interpolate is the last it does"),
    "transposed, classes mixed": ("which mixes classes", "its `groups` are as many as classes"),
    "transposed, classes apart": ("which has other taps for each class", "its taps are fixed"),
    "transposed, no product": ("whose taps are no exact product of a column and a row", "F.interpolate stands in"),
    "transposed, a bias": ("which has a bias", "it has none (`bias=False`)"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_an_end_that_is_not_read_is_named_with_what_it_lacks(name: str, export: Export) -> None:
    what, mend = other_end(export(Ends(OTHERS[name]), SHAPE))
    assert what.startswith(("sub", "relu", "conv_transpose2d"))
    assert UNREAD[name][0] in what
    assert UNREAD[name][1] in mend


def test_a_convolution_after_a_transposed_one_is_named(export: Export) -> None:
    mix = torch.ones(2, 2, 1, 1)
    what, _ = other_end(export(Ends(lambda z: functional.conv2d(transposed(z, 4), mix)), SHAPE))
    assert what.endswith("with a 1 x 1 convolution after it")
    assert other_end(export(nn.Conv2d(3, 2, 1), SHAPE))[0] == "nothing but 1 x 1 convolutions"


def test_a_nearest_neighbour_that_types_disagree_on_is_no_fixed_map(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robspec.lipschitz import upsampling

    def disagree(count: int, shape: list[int]) -> list[Tensor]:
        ramp = torch.arange(count, dtype=torch.float64).reshape(1, 1, *shape)
        return [ramp, ramp.flip(3)]

    monkeypatch.setattr(upsampling, "ramps", disagree)
    assert find(export(Ends(ENDS["nearest"][0]), SHAPE)) is None


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize(("side", "outputs"), [(1, 5), (2, 3), (5, 40), (7, 20), (9, 4)])
def test_weights_are_exact_and_sum_to_one(side: int, outputs: int, align: bool) -> None:
    rows = interpolation(side, outputs, align, None)
    assert all(sum(row.values()) == 1 and all(weight > 0 for weight in row.values()) for row in rows)
    basis = torch.eye(side, dtype=torch.float64)[:, None]
    given = functional.interpolate(basis, size=outputs, mode="linear", align_corners=align)[:, 0].T
    assert torch.allclose(matrix(rows, side), given, atol=1e-12)
    axis = Axis.of(rows, side)
    assert axis.colours == (2 if len(set(axis.cells)) > 1 else 1)
    assert all(Fraction(i) <= 2 for i in axis.inverse)


class Mixed(nn.Module):
    """Features of 4 channels at half the size, enlarged, and mixed into 3 classes pixel by pixel."""

    def __init__(self, enlarge: Callable[[Tensor], Tensor], *, bias: bool = True, twice: bool = False) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.convolution = nn.Conv2d(3, 4, 2, stride=2)
        mixes = [nn.Conv2d(4, 6, 1, groups=2, bias=bias)] if twice else []
        self.mix = nn.Sequential(*mixes, nn.Conv2d(6 if twice else 4, 3, 1, bias=bias))
        self.enlarge = enlarge

    def features(self, image: Tensor) -> Tensor:
        return torch.relu(self.convolution(image))

    def forward(self, image: Tensor) -> Tensor:
        return self.mix(self.enlarge(self.features(image)))


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", ["x8", "aligned", "odd", "nearest odd", "crop", "copies"])
def test_a_convolution_of_single_pixels_may_as_well_come_first(
    name: str, bias: bool, twice: bool, export: Export
) -> None:
    """Of the coarse logits that are cut the exact matrix of the end makes what the network computes."""
    end, pixels, colours = ENDS[name]
    network = Mixed(end, bias=bias, twice=twice)
    program = export(network, SHAPE)
    found = find(program)
    assert found is not None
    assert (found.grid.shape, found.sides, found.grid.colours) == (pixels, (5, 6), colours)
    assert found.moved is not None
    assert "the 1 x 1 convolution after it moved before it" in found.text
    images = torch.rand(2, *SHAPE, dtype=torch.float64)
    network = copy.deepcopy(network).double()
    with torch.no_grad():
        meant, coarse = network(images), network.mix(network.features(images))
    assert torch.equal(Replay(found.coarse)(images), coarse)
    assert (Replay(found.moved)(images) - meant).abs().max() < 1e-12
    assert torch.equal(found.enlarge(coarse), Replay(found.moved)(images))
    basis = torch.eye(30, dtype=torch.float64).reshape(30, 1, 5, 6)
    dense = end(basis).reshape(30, -1)
    assert ((coarse.reshape(2, 3, 30) @ dense).reshape(2, 3, *pixels) - meant).abs().max() < 1e-12
    # Mixed before or after: one constant holds of either, and the coarse one of what is cut.
    whole, moved = (prove(p, input_norm=L2, output_norm=L2).value for p in (program, found.moved))
    low = prove(found.coarse, input_norm=L2, output_norm=L2).value
    assert moved == pytest.approx(float(whole), rel=1e-6)  # type: ignore[comparison-overlap]
    gain = float(np.linalg.norm(dense.numpy(), 2))
    assert float(low) * gain <= float(moved) * (1 + 1e-6)


def test_convolutions_keep_their_place_where_pixels_do_not_only_mix(export: Export) -> None:
    """A window of 3, a stride, a border of zeros, a weight made of the image: each is left where it is."""

    class After(nn.Module):
        def __init__(self, last: nn.Module) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.convolution, self.last = nn.Conv2d(3, 4, 2, stride=2), last

        def forward(self, image: Tensor) -> Tensor:
            return self.last(functional.interpolate(self.convolution(image), scale_factor=4, mode="bilinear"))

    for last in (
        nn.Conv2d(4, 3, 3, padding=1),
        nn.Conv2d(4, 3, 1, stride=2),
        nn.Conv2d(4, 3, 1, padding=1),
        nn.Conv2d(4, 3, (1, 3)),
        nn.ConvTranspose2d(4, 3, 1),
        nn.Sequential(nn.Conv2d(4, 3, 1), nn.ReLU()),
        nn.Sequential(nn.ReLU(), nn.Conv2d(4, 3, 1)),
    ):
        assert find(export(After(last), SHAPE)) is None
    assert find(export(After(nn.Conv2d(4, 3, 1)), SHAPE)) is not None


def test_a_convolution_whose_weights_follow_the_image_stays(export: Export) -> None:
    class Follows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.weight = nn.Conv2d(3, 4, 2, stride=2), nn.Parameter(torch.randn(3, 4, 1, 1))

        def forward(self, image: Tensor) -> Tensor:
            enlarged = functional.interpolate(self.convolution(image), scale_factor=4, mode="bilinear")
            return functional.conv2d(enlarged, self.weight * image.mean())

    assert find(export(Follows(), SHAPE)) is None

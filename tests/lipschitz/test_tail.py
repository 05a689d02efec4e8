"""Where a network ends in a fixed up-sampling: which ends are read as such, and what they make of nodes."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from robspec.kernels.coarse.grid import Axis
from robspec.lipschitz.prove import prove
from robspec.lipschitz.replay import Replay
from robspec.lipschitz.tail import find, interpolation, matrix
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
    "cubic": lambda z: functional.interpolate(z, scale_factor=4, mode="bicubic"),
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


def test_a_nearest_neighbour_that_types_disagree_on_is_no_fixed_map(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    from robspec.lipschitz import tail

    def disagree(count: int, shape: list[int]) -> list[Tensor]:
        ramp = torch.arange(count, dtype=torch.float64).reshape(1, 1, *shape)
        return [ramp, ramp.flip(3)]

    monkeypatch.setattr(tail, "ramps", disagree)
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

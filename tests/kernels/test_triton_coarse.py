"""The bound over cells on Triton: the integers of the reference, whatever the tiles, types, strides and labels."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import numpy as np
import pytest
import torch

from robspec.kernels import coarse
from robspec.kernels.coarse import CoarseBatch, CoarsePrepared, shares
from robspec.kernels.coarse._tiles import tiles_of
from robspec.kernels.coarse.grid import Axis, Grid
from robspec.kernels.coarse.triton import SIZES, TritonCoarse
from robspec.kernels.knapsack import Items, _triton_launch, triton_cuda
from robspec.kernels.knapsack.budget import Budget
from robspec.kernels.knapsack.triton_cuda import TritonBackend
from robspec.lipschitz.upsampling import interpolation
from tests.kernels.available import TRITON
from tests.kernels.test_coarse import budget, lines, nearest

pytestmark = pytest.mark.skipif(not TRITON, reason=f"triton: {triton_cuda.BACKEND.unavailable()}")
REACHES = ("0", "0.01", "0.3", "1", "3", "1e-200", "1e200")
TWO = Fraction(2)


def bilinear(side: int, factor: int, *, aligned: bool = False) -> Axis:
    return Axis.of(interpolation(side, factor * side, aligned, None), side)


def read(batch: CoarseBatch, sizes: tuple[int, int] | None = None) -> TritonCoarse:
    return TritonCoarse(batch, sizes, TritonBackend(block=512, bits=3, many=4))


def asked(batch: CoarseBatch, *more: str) -> list[Budget]:
    height, width = batch.grid.shape
    single = batch.logits.shape[1] == 1
    return [budget(Fraction(reach), height * width, single=single) for reach in (*REACHES, *more)]


def agree(got: TritonCoarse, batch: CoarseBatch, *more: str) -> CoarsePrepared:
    """Hold everything that is asked of a batch against the reference."""
    expected, budgets = coarse.prepare("reference", batch), asked(batch, *more)
    assert got.items.tolist() == expected.items.tolist()
    assert got.predicted.tolist() == expected.predicted.tolist()
    flips = expected.flips(budgets)
    assert got.flips(budgets).tolist() == flips.tolist()
    last = len(flips) - 1
    assert got.flips_of(last, budgets[3]) == flips[last, 3]
    assert got.flips_of(last, budgets[0]) == flips[last, 0]
    # The same margins without a look at cells.
    assert got.full.items.tolist() == expected.full.items.tolist()
    assert got.full.valid.tolist() == expected.full.valid.tolist()
    assert got.full.finite.all()
    assert got.full.flips(budgets).tolist() == expected.full.flips(budgets).tolist()
    # Parts of nodes stand on the same items, after all that was asked before.
    for ask in budgets:
        if ask.exponent:
            reached = [it.reached(last, ask) for it in (got, expected)]
            for name in ("margins", "rows", "columns", "starts", "tops", "lefts"):
                assert getattr(reached[0], name).tolist() == getattr(reached[1], name).tolist(), name
            if shares.is_shared(batch.grid):
                found = [shares.share_out(it, last, ask).flips(ask) for it in (got, expected)]
                assert found[0] == found[1]
    return expected


@pytest.mark.parametrize("seed", range(24))
def test_equals_the_reference(seed: int) -> None:
    """Grids of every kind, ties, half types, labels that are no class or left out, single logits, several images."""
    rng = random.Random(seed)  # noqa: S311  (a test draws numbers, not secrets)
    torch.manual_seed(seed)
    b, k = rng.choice([1, 2, 3]), rng.choice([1, 2, 3, 5])
    h, w = rng.randint(1, 7), rng.randint(1, 7)
    height, width = rng.randint(1, 4 * h), rng.randint(1, 4 * w)
    grid = Grid(Axis.of(lines(rng, h, height), h), Axis.of(lines(rng, w, width), w))
    dtype = rng.choice([torch.float16, torch.bfloat16, torch.float32, torch.float64])
    steps = rng.choice([1, 2, 1000])
    logits = ((torch.randn(b, k, h, w, dtype=torch.float64) * steps).round() / steps).to(dtype)
    labels = torch.randint(-1, max(k, 2) + 1, (b, height, width))
    items = rng.choice([Items.CORRECT, Items.PREDICTED])
    given = None if items is Items.PREDICTED and rng.random() < 0.5 else labels
    ignore = None if given is None or rng.random() < 0.3 else -1
    batch = CoarseBatch(logits, grid, given, items, ignore)
    got = read(batch)
    expected = agree(got, batch, str(rng.random()))
    if not seed % 4:
        wanted = np.array([[0, 1, int(n) // 2, int(n), int(n) + 1] for n in got.items])
        radii = [p.full.radii(wanted, Fraction(3, 2), TWO).tolist() for p in (got, expected)]
        assert radii[0] == radii[1]


@pytest.mark.parametrize("sizes", [(32, 256), SIZES])
def test_no_answer_depends_on_tiles(sizes: tuple[int, int]) -> None:
    """Cells of an image fill several tiles, the last of each colour in part; one to sixteen prices at a time."""
    torch.manual_seed(2)
    grid = Grid(bilinear(4, 4), bilinear(5, 3, aligned=True))
    logits = torch.randn(2, 3, 4, 5).round(decimals=1)
    batch = CoarseBatch(logits, grid, torch.randint(0, 3, (2, 16, 15)), Items.CORRECT)
    tiles = list(tiles_of(grid, sizes[0]))
    assert sum(len(t.colours) for t in tiles) > len(tiles) + 3 or sizes == SIZES
    got, expected = read(batch, sizes), coarse.prepare("reference", batch)
    budgets = [budget(Fraction(reach), 240) for reach in ("0.3", "2")]
    assert got.flips(budgets).tolist() == expected.flips(budgets).tolist()
    assert got.full.flips(budgets).tolist() == expected.full.flips(budgets).tolist()
    assert got.items.tolist() == expected.items.tolist()


@pytest.mark.parametrize("factor", [3, 5, 8])
def test_several_sizes_of_cells(factor: int) -> None:
    """Border cells have half as many rows and columns again, and may need tiles of their own."""
    torch.manual_seed(factor)
    grid = Grid(bilinear(4, factor), bilinear(3, factor))
    tiles = list(tiles_of(grid, 64))
    sides = {3: {(4, 4), (4, 8), (8, 4), (8, 8)}, 5: {(8, 8)}, 8: {(8, 16), (16, 16)}}
    assert {(t.tall, t.broad) for t in tiles} == sides[factor]
    cells = [(int(b), int(c)) for t in tiles for b, c in zip(t.bands, t.columns, strict=True) if b >= 0]
    assert len(set(cells)) == len(cells) == grid.cells
    batch = CoarseBatch(torch.randn(1, 4, 4, 3), grid, None, Items.PREDICTED)
    agree(read(batch), batch, "0.5")


def test_strided_logits_and_labels() -> None:
    torch.manual_seed(4)
    grid = Grid(bilinear(3, 2), Axis.of(nearest(4, 9), 4))
    logits = torch.randn(8, 3, 3, 2)[::2].permute(3, 2, 1, 0)
    labels = torch.randint(0, 3, (2, 9, 12)).transpose(1, 2)[:, ::2]
    assert not logits.is_contiguous()
    assert not labels.is_contiguous()
    batch = CoarseBatch(logits, grid, labels, Items.CORRECT, 2)
    agree(read(batch), batch)


def test_a_level_cell_flips_for_nothing_and_its_largest_item_decides() -> None:
    """A node of four pixels that is level; of another all four for the price of one, or two for half of it."""
    logits = torch.tensor([[[[0.0, 2.0]], [[0.0, 0.0]]]])
    grid = Grid(Axis.of(nearest(1, 2), 1), Axis.of(nearest(2, 4), 2))
    got = read(CoarseBatch(logits, grid, None, Items.PREDICTED))
    reaches = [Fraction(float(e) ** 0.5) * (1 + Fraction(1, 10**9)) for e in (0, 0.01, 1, 2)]
    assert [got.flips_of(0, budget(reach, 8)) for reach in reaches] == [4, 4, 4, 8]


def test_a_tie_of_a_cells_largest_items() -> None:
    """Two pixels of a cell are level with each other at its largest key: both are given up with it, or neither."""
    columns = [{0: Fraction(1)}, {0: Fraction(3, 4), 1: Fraction(1, 4)}, {0: Fraction(1, 4), 1: Fraction(3, 4)}]
    grid = Grid(Axis.of(nearest(1, 1), 1), Axis.of(columns, 2))
    got = read(CoarseBatch(torch.tensor([[[[1.0, 1.0]], [[0.0, 0.0]]]]), grid, None, Items.PREDICTED))
    # Energies 1/2, and 4/5 twice.
    reaches = [Fraction(float(e) ** 0.5) for e in (0.49, 0.51, 0.79, 0.81)]
    assert [got.flips_of(0, budget(reach, 3)) for reach in reaches] == [0, 1, 1, 3]


def test_cells_that_are_all_alike() -> None:
    """Every piece has the same slope, so that no two prices tell cells apart: of one of them a part is taken."""
    logits = torch.stack([torch.full((5, 6), 1.0), torch.zeros(5, 6)])[None]
    for grid in (Grid(bilinear(5, 4), bilinear(6, 4)), Grid(Axis.of(nearest(5, 10), 5), Axis.of(nearest(6, 12), 6))):
        batch = CoarseBatch(logits, grid, None, Items.PREDICTED)
        agree(read(batch), batch, "0.9", "2", "2.5")


def test_bits_that_decide() -> None:
    """Largest logits that differ in the last place after interpolation, along the height first."""
    torch.manual_seed(9)
    grid = Grid(bilinear(4, 5), bilinear(4, 3))
    base = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    logits = torch.cat([base, base * (1 + 2.0**-52), base * (1 - 2.0**-52)], 1)
    batch = CoarseBatch(logits, grid, None, Items.PREDICTED)
    got = read(batch)
    # Margins vanish in their rounding: all are level, and which class is first is a matter of bits.
    assert got.flips_of(0, asked(batch)[0]) == got.pixels
    agree(got, batch)
    logits = torch.randn(1, 3, 4, 4, dtype=torch.float64) * 10.0 ** torch.randint(-120, 120, (1, 3, 4, 4)).double()
    batch = CoarseBatch(logits, grid, torch.randint(0, 3, (1, 20, 12)), Items.CORRECT)
    agree(read(batch), batch)


@pytest.mark.parametrize("fill", [math.nan, 1.0])
def test_scratch_is_written_before_it_is_read(fill: float, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def poisoned(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        made.append(dtype)
        return torch.full(shape, fill if dtype.is_floating_point else 7, dtype=dtype, device=device)

    monkeypatch.setattr(_triton_launch, "scratch", poisoned)
    torch.manual_seed(5)
    grid = Grid(bilinear(4, 3), bilinear(3, 3))
    batch = CoarseBatch(torch.randn(2, 3, 4, 3), grid, torch.randint(-1, 3, (2, 12, 9)), Items.CORRECT, -1)
    agree(read(batch), batch)
    assert set(made) == {torch.float64, torch.int64, torch.int32}


def test_cells_too_large_for_a_program_are_read_on_the_cpu() -> None:
    """Two nodes a side make one cell of all pixels."""
    torch.manual_seed(6)
    labels = torch.randint(0, 2, (1, 70, 70))
    for factor, name in ((16, "triton"), (35, "cpu")):
        grid = Grid(bilinear(2, factor), bilinear(2, factor))
        side = 2 * factor
        batch = CoarseBatch(torch.randn(1, 2, 2, 2), grid, labels[:, :side, :side], Items.CORRECT)
        got = coarse.prepare("triton", batch)
        assert got.backend == name
        budgets = [budget(Fraction(reach), side * side) for reach in ("0", "0.3", "1")]
        assert got.flips(budgets).tolist() == coarse.prepare("reference", batch).flips(budgets).tolist()

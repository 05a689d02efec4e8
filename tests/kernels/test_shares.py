"""Cells that share nodes by parts: equal integers, never below what any set of pixels takes, better than colours."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from robspec.kernels import coarse
from robspec.kernels.coarse import CoarseBatch, shares
from robspec.kernels.coarse.grid import Axis, Grid
from robspec.kernels.knapsack import Items
from robspec.lipschitz.upsampling import interpolation, matrix
from tests.kernels.test_coarse import CASES, attacks, budget, lines, nearest

F = Fraction
BACKENDS = ("reference", "cpu")


def drawn(seed: int) -> tuple[CoarseBatch, list[list[dict[int, Fraction]]], random.Random]:
    rng = random.Random(seed)  # noqa: S311  (a test draws numbers, not secrets)
    torch.manual_seed(seed)
    b, k = rng.choice([1, 2]), rng.choice([1, 2, 3, 5])
    h, w = rng.randint(1, 7), rng.randint(1, 7)
    rows = [lines(rng, side, rng.randint(1, 4 * side)) for side in (h, w)]
    grid = Grid(Axis.of(rows[0], h), Axis.of(rows[1], w))
    steps = rng.choice([1, 2, 1000])
    logits = (torch.randn(b, k, h, w, dtype=torch.float64) * steps).round() / steps
    if rng.random() < 0.6:  # one class is ahead almost everywhere: cells that stay closed
        logits[:, rng.randrange(k)] += rng.choice([2, 4])
    labels = torch.randint(-1, max(k, 2), (b, *grid.shape))
    items = rng.choice([Items.CORRECT, Items.PREDICTED])
    return CoarseBatch(logits, grid, labels, items, -1), rows, rng


REACHES = ("0.01", "0.3", "1", "3", "1e-200", "1e200")


@pytest.mark.parametrize("seed", range(60))
def test_backends_agree(seed: int) -> None:
    batch, _, rng = drawn(seed)
    grid, single = batch.grid, batch.logits.shape[1] == 1
    one, two = (coarse.prepare(name, batch) for name in BACKENDS)
    if not shares.is_shared(grid):
        assert grid.rows.span * grid.columns.span == 1
        return
    for reach, image in itertools.product(REACHES, range(len(batch.logits))):
        ask = budget(F(reach), one.pixels, single=single)
        found = one.reached(image, ask), two.reached(image, ask)
        for name in ("margins", "rows", "columns", "starts", "tops", "lefts"):
            assert getattr(found[0], name).tolist() == getattr(found[1], name).tolist(), name
        worth = np.array([rng.choice([0.0, 0.5, 1.0]) for _ in found[0].margins])
        parts = shares.divided(found[0], grid, worth, ask)
        opened = [it.shared(reached, parts, ask) for it, reached in zip((one, two), found, strict=True)]
        for part in ("1", "0.7", "0.1"):
            less = budget(F(reach) * F(part), one.pixels, single=single)
            assert opened[0].flips(less) == opened[1].flips(less)


@pytest.mark.parametrize("seed", range(20))
def test_keys_never_exceed_the_exact_ones(seed: int) -> None:
    """In rationals, with the weights of the definition, at parts drawn at random."""
    batch, rows, rng = drawn(200 + seed)
    grid = batch.grid
    if not shares.is_shared(grid):
        grid = Grid(Axis.of(interpolation(2, 5, False, None), 2), grid.columns)
        rows[0] = [dict(row) for row in interpolation(2, 5, False, None)]
        logits = torch.randn(1, 2, 2, grid.columns.nodes, dtype=torch.float64)
        batch = CoarseBatch(logits, grid, None, Items.PREDICTED)
    single = batch.logits.shape[1] == 1
    pixels = grid.shape[0] * grid.shape[1]
    ask = budget(F(3), pixels, single=single)
    read = coarse.prepare("reference", batch)
    reached = read.reached(0, ask)
    nodes, wide = shares.nodes_of(reached, grid), grid.columns.span
    most = max((int(n) for n in np.bincount(nodes.reshape(-1))), default=1) if nodes.size else 1
    parts = np.array([[rng.randint(1, shares.PARTS // most) for _ in cell] for cell in nodes]).reshape(nodes.shape)
    opened = read.shared(reached, parts, ask)
    for cell, (begin, end) in enumerate(itertools.pairwise(reached.starts.tolist())):
        named = {int(node): F(int(part), shares.PARTS) for node, part in zip(nodes[cell], parts[cell], strict=True)}
        for i, key in zip(range(begin, end), opened._cells[cell], strict=True):  # type: ignore[attr-defined]
            down, along = rows[0][int(reached.rows[i])], rows[1][int(reached.columns[i])]
            total = F(0)
            for y, u in down.items():
                for x, v in along.items():
                    if u and v:
                        total += (u * v) ** 2 / named[y * grid.columns.nodes + x]
            exact = F(float(reached.margins[i])) ** 2 / total
            # What a budget's scale leaves for the roundings of keys.
            assert F(key) * (1 - F(1, 2**46)) <= exact <= F(key) * (1 + F(1, 2**46))
    assert wide == grid.columns.span


@pytest.mark.parametrize("case", [case for case in CASES if case[3] != "nearest"])
@pytest.mark.parametrize("seed", range(3))
def test_no_set_of_pixels_is_cheaper(case: tuple[int, tuple[int, int], tuple[int, int], str], seed: int) -> None:
    """Exhaustive search over sets and classes, the least energy of each by a quadratic program; any parts hold."""
    classes, (h, w), (height, width), kind = case
    dice = np.random.default_rng(40 + seed)
    rows, columns = (
        [dict(r) for r in interpolation(a, b, kind == "aligned", None)] for a, b in ((h, height), (w, width))
    )
    grid = Grid(Axis.of(rows, h), Axis.of(columns, w))
    u = np.kron(matrix(rows, h).numpy(), matrix(columns, w).numpy())
    low = dice.normal(size=(classes, h * w))
    found = attacks(u, low @ u.T)
    batch = CoarseBatch(torch.tensor(low).reshape(1, classes, h, w), grid, None, Items.PREDICTED)
    read = [coarse.prepare(name, batch) for name in BACKENDS]
    for energy, side in itertools.product((e for e, _ in found if e > 0), (1 - 1e-6, 1 + 1e-6)):
        spend = energy * side
        within = max(n for e, n in found if e <= spend * (1 + 1e-9))
        ask = budget(F(spend**0.5), height * width)
        for p in read:
            assert shares.share_out(p, 0, ask).flips(ask) >= within, energy
        reached = read[0].reached(0, ask)
        nodes = shares.nodes_of(reached, grid)
        most = max((int(n) for n in np.bincount(nodes.reshape(-1))), default=1) if nodes.size else 1
        any_parts = dice.integers(1, shares.PARTS // most + 1, nodes.shape)
        assert read[0].shared(reached, any_parts, ask).flips(ask) >= within, energy


def test_cells_apart_share_one_budget() -> None:
    """Two cells without a common node, of two colours: a budget for each colour buys both, one for all buys one."""
    columns = [dict(row) for row in interpolation(5, 20, False, None)]
    grid = Grid(Axis.of(nearest(1, 1), 1), Axis.of(columns, 5))
    assert grid.colours == 2
    # Near the first node and the last one margins are small, in between they are out of reach.
    logits = torch.tensor([[[[1.0, 40.0, 40.0, 40.0, 1.0]], [[0.0, 0.0, 0.0, 0.0, 0.0]]]])
    for name in BACKENDS:
        read = coarse.prepare(name, CoarseBatch(logits, grid, None, Items.PREDICTED))
        # Two pixels on either node take 1/2 each.
        ask = budget(F(71, 100), 20)
        assert read.flips_of(0, ask) == 4
        assert shares.share_out(read, 0, ask).flips(ask) == 2


def test_parts_that_are_none_are_refused() -> None:
    batch, _, _ = drawn(3)
    grid = Grid(Axis.of(interpolation(3, 9, False, None), 3), Axis.of(interpolation(3, 9, False, None), 3))
    batch = CoarseBatch(torch.randn(1, 2, 3, 3), grid, None, Items.PREDICTED)
    ask = budget(F(10), 81)
    for name in BACKENDS:
        read = coarse.prepare(name, batch)
        reached = read.reached(0, ask)
        parts = shares.divided(reached, grid, np.ones(81), ask)
        assert len(parts) == 4
        more = parts.copy()
        more[0, 3] += shares.PARTS
        none = parts.copy()
        none[1, 1] = 0
        for wrong in (more, none):
            with pytest.raises(ValueError, match="parts of a node"):
                read.shared(reached, wrong, ask)
        opened = read.shared(reached, parts, ask)
        with pytest.raises(ValueError, match="smaller budget"):
            opened.flips(budget(F(11), 81))
        with pytest.raises(ValueError, match="smaller budget"):
            opened.flips(budget(F(0), 81))
        assert opened.flips(ask) == 81
        # Nodes of one cell alone: all of each may be given to it.
        lone = replace(
            reached,
            margins=reached.margins[:0],
            rows=reached.rows[:0],
            columns=reached.columns[:0],
            starts=reached.starts[:1],
            tops=reached.tops[:0],
            lefts=reached.lefts[:0],
        )
        assert read.shared(lone, shares.divided(lone, grid, np.ones(0), ask), ask).flips(ask) == 0


def test_parts_help_where_cells_differ() -> None:
    """Over drawn images, one budget with parts lets clearly fewer pixels flip than one for each of four colours."""
    total, shared = 0, 0
    grid = Grid(Axis.of(interpolation(12, 48, False, None), 12), Axis.of(interpolation(12, 48, False, None), 12))
    for seed in range(4):
        torch.manual_seed(seed)
        logits = 2 * torch.nn.functional.avg_pool2d(torch.randn(1, 3, 16, 16), 5, stride=1) * 5
        read = coarse.prepare("cpu", CoarseBatch(logits, grid, None, Items.PREDICTED))
        for reach in ("0.1", "0.5", "2"):
            ask = budget(F(reach), 48 * 48)
            total += read.flips_of(0, ask)
            shared += shares.share_out(read, 0, ask).flips(ask)
    assert shared < 0.92 * total

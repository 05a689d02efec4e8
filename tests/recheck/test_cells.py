"""Cells of exact coarse logits: against the definition in rationals, the kernels, duality and exhaustive search."""

from __future__ import annotations

import itertools
import math
import random
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from robspec.kernels import coarse
from robspec.kernels.coarse import CoarseBatch
from robspec.kernels.coarse.grid import Axis, Grid
from robspec.kernels.knapsack import Items
from robspec.kernels.knapsack.budget import Budget
from robspec.lipschitz.upsampling import interpolation
from robspec.recheck import cell_prices
from robspec.recheck.cell_claims import read_prices, written_prices
from robspec.recheck.cells import Asked, Cells, Prices
from robspec.recheck.lattice import Lattice, Line
from robspec.recheck.sight import Sight
from robspec.recheck.whole import nearly, objects, whole
from tests.kernels.test_coarse import least_energy
from tests.recheck.up_sampled import Drawn, drawn, items_of

F = Fraction


@pytest.mark.parametrize("seed", range(60))
def test_margins_are_those_of_the_definition(seed: int) -> None:
    """Largest, second largest, of a set and of all others, and how far apart they are, ties included."""
    it = drawn(seed)
    sight, full = it.sight, it.full
    first, second = sight.order()
    every = np.arange(len(full))
    if sight.single:
        gaps = sight.gaps(every, np.zeros_like(every))
        assert [g * sight.unit for g in gaps] == [row[0] for row in full]
        assert first.tolist() == [int(row[0] > 0) for row in full]
        return
    gaps = sight.gaps(every, first, second)
    for row, one, other, gap in zip(full, first.tolist(), second.tolist(), gaps, strict=True):
        assert one == row.index(max(row))
        assert row[other] == max(v for k, v in enumerate(row) if k != one)
        assert gap * sight.unit == row[one] - row[other] >= 0
    inside = np.random.default_rng(seed).random(sight.classes) < 0.5
    inside[0], inside[-1] = True, False
    within, beside = sight.sides(inside)
    for row, one, other in zip(full, within.tolist(), beside.tolist(), strict=True):
        assert row[one] == max(v for k, v in enumerate(row) if inside[k])
        assert row[other] == max(v for k, v in enumerate(row) if not inside[k])


def test_logits_that_doubles_cannot_tell_apart_are_told_apart() -> None:
    """Two thirds and one third are no doubles: 2/3 + 4/3 and 2 are level, and 2^-60 beside them is not."""
    third = ({0: F(2, 3), 1: F(1, 3)},)
    lattice = Lattice((({0: F(1)},), third), (1, 2))
    for low, first, gap in (
        ([[1.0, 4.0], [2.0, 2.0]], 0, F(0)),
        ([[2.0, 2.0], [1.0, 4.0]], 0, F(0)),
        ([[2.0, 2.0], [1.0 + 2.0**-52, 4.0]], 1, F(2, 3) / 2**52),
        ([[0.1, 0.3], [0.3 - 2.0**-54, -0.1]], None, None),
    ):
        sight = Sight(np.array(low)[:, None, :], lattice)
        one, other = sight.order()
        exact = [F(2, 3) * F(a) + F(1, 3) * F(b) for a, b in low]
        assert one.tolist() == [exact.index(max(exact)) if first is None else first]
        found = sight.gaps(np.array([0]), one, other)[0] * sight.unit
        assert found == max(exact) - min(exact)
        assert gap is None or found == gap


@pytest.mark.parametrize("seed", range(40))
def test_keys_cells_and_colours_are_those_of_the_definition(seed: int) -> None:
    it = drawn(seed)
    cells, pixels = items_of(it)
    lattice, rows, full = cells.lattice, it.rows, it.full
    nodes: dict[int, set[tuple[int, int]]] = {}
    for pixel, row in enumerate(rows):
        nodes.setdefault(int(lattice.cell[pixel]), set()).update(row)
    for (one, a), (other, b) in itertools.combinations(nodes.items(), 2):
        assert lattice.colour[one] != lattice.colour[other] or not a & b
    tall, wide = lattice.down, lattice.along
    for cell, used in nodes.items():
        y, x = divmod(cell, lattice.bands[1])
        held = itertools.product(range(tall.span), range(wide.span))
        assert used <= {(int(tall.first[y]) + s, int(wide.first[x]) + t) for s, t in held}
    expected = []
    for pixel in pixels.tolist():
        values = sorted(full[pixel])
        gap = abs(values[0]) if len(values) == 1 else values[-1] - values[-2]
        energy = gap * gap / sum(w * w for w in rows[pixel].values()) / (1 if len(values) == 1 else 2)
        expected.append((int(lattice.cell[pixel]), energy))
    found = [(int(c), k * cells.unit) for c, k in zip(cells.cell, cells.keys, strict=True)]
    assert found == sorted(expected)


def test_norms_without_a_short_common_denominator_are_rounded_down_and_hardly() -> None:
    rows = interpolation(32, 257, True, None)
    line = Line(rows, 32)
    short = Line(interpolation(4, 32, False, None), 4)
    for axis, listed, exact in ((line, rows, False), (short, interpolation(4, 32, False, None), True)):
        for n, row in zip(axis.inverse, listed, strict=True):
            inverse = 1 / sum(w * w for w in row.values())
            assert inverse * (1 - F(1, 2**120)) <= n * axis.inverse_unit <= inverse
            assert not exact or n * axis.inverse_unit == inverse


@pytest.mark.parametrize("seed", range(60))
def test_no_more_flips_than_the_kernels_allow_for(seed: int) -> None:
    """Exact keys at the best prices: what is left is at least what the kernels leave, and nearly always the same."""
    it, rng = drawn(seed), random.Random(seed)  # noqa: S311  (a test draws numbers, not secrets)
    classes, h, w = it.low.shape
    cells, pixels = items_of(it)
    grid = Grid(*(Axis.of(rows, n) for rows, n in zip(it.lines, (h, w), strict=True)))
    assert (grid.colours, grid.cells) == (cells.lattice.colours, len(cells.lattice.colour))
    labels = torch.from_numpy(it.labels).reshape(1, *grid.shape)
    read = coarse.prepare("reference", CoarseBatch(torch.from_numpy(it.low[None]), grid, labels, Items.CORRECT, 255))
    for reach in (F(0), F(1, 100), F(3, 10), F(1), F(3), F(rng.random())):
        budget = Budget.of(reach, F(1), F(2), read.pixels, single=classes == 1)
        asked = Asked(reach**2)
        prices = cell_prices.best(cells.within(reach**2), asked).prices
        flips = sum(map(math.floor, cells.bounds(asked, prices)))
        allowed = int(read.items[0]) - read.flips_of(0, budget)
        assert allowed <= len(pixels) - flips <= allowed + (0 if it.low.max() > 2.0**-30 else 1)
        near = cell_prices.near(cells.within(reach**2), asked)
        assert sum(map(math.floor, cells.bounds(asked, near))) >= flips


@pytest.mark.parametrize("seed", range(40))
def test_the_best_prices_are_the_best(seed: int) -> None:
    """What is bought at them is worth as much as the bound says: no other price can say less. Lies only lose."""
    it, rng = drawn(seed), random.Random(seed)  # noqa: S311  (a test draws numbers, not secrets)
    cells, pixels = items_of(it)
    enters = np.random.default_rng(seed).random(len(pixels)) < 0.4
    cells = Cells(cells.lattice, cells.keys, cells.unit, cells.cell, enters)
    for reach in (F(1, 3), F(2)):
        asked = Asked(reach**2, F(rng.randint(0, 5), 3), F(rng.randint(0, 5), 7))
        found = cell_prices.best(cells.within(asked.budget), asked)
        least = cells.bounds(asked, found.prices)
        assert sum(least) == asked.leave * found.left + asked.enter * found.entered
        for _ in range(4):
            lie = Prices(tuple(F(rng.randint(0, 60), rng.randint(1, 20)) for _ in found.prices.of))
            assert all(a <= b for a, b in zip(least, cells.bounds(asked, lie), strict=True))


def test_prices_of_each_cell_are_prices_of_a_colour_where_all_others_pay_nothing() -> None:
    """Cells of one colour at its price, all others empty: both ways of writing prices say the same."""
    for seed in range(20):
        it = drawn(seed)
        cells, _ = items_of(it)
        lattice, asked = cells.lattice, Asked(F(1, 2))
        for colour in range(lattice.colours):
            own = lattice.colour[cells.cell] == colour
            some = Cells(lattice, cells.keys[own], cells.unit, cells.cell[own], cells.enters[own])
            price = F(3 + colour, 2)
            alike = Prices(tuple(price if c == colour else F(0) for c in range(lattice.colours)))
            each = Prices(tuple(price if c == colour else F(0) for c in lattice.colour.tolist()), alike=False)
            assert [sum(some.bounds(asked, alike), F(0))] == some.bounds(asked, each)


class Exhausted:
    """Few pixels, and the least energy that levels each set of those that are right, by a quadratic program."""

    def __init__(self, it: Drawn) -> None:
        cells, pixels = items_of(it)
        self.cells, self.items = cells, pixels.tolist()
        h, w = it.sides
        u = np.array([[float(row.get((y, x), 0)) for y in range(h) for x in range(w)] for row in it.rows])
        z = it.low.reshape(len(it.low), -1) @ u.T
        single = len(z) == 1
        self.energies: list[tuple[float, list[int]]] = []
        for n in range(1, len(self.items) + 1):
            for chosen in itertools.combinations(self.items, n):
                rows, needed = [], []
                for pixel in chosen:
                    if single:
                        side = 1.0 if z[0, pixel] > 0 else -1.0
                        rows.append(-side * u[pixel])
                        needed.append(abs(z[0, pixel]))
                        continue
                    one = int(z[:, pixel].argmax())
                    row = np.zeros((2, u.shape[1]))
                    row[one], row[1 - one] = -u[pixel], u[pixel]
                    rows.append(row.reshape(-1))
                    needed.append(z[one, pixel] - z[1 - one, pixel])
                self.energies.append((least_energy(np.array(rows), np.array(needed)), list(chosen)))

    def most(self, budget: Fraction, leave: Fraction, enter: Fraction, enters: dict[int, bool]) -> Fraction:
        """The most that the flips of a set within the budget are worth."""
        found = F(0)
        for energy, chosen in self.energies:
            if energy <= float(budget) * (1 - 1e-9):
                found = max(found, sum((enter if enters[p] else leave for p in chosen), F(0)))
        return found


def exhausted(seed: int) -> tuple[Drawn, Exhausted, np.ndarray, np.ndarray]:
    """Draw a problem of few pixels and search it: also which are items, and their margins in units of the image."""
    it = drawn(300 + seed, nodes=3, classes=(1, 2), times=2)
    if len(it.labels) > 14:
        it = drawn(900 + seed, nodes=2, classes=(1, 2), times=3)
    full = Exhausted(it)
    if len(full.items) > 9:
        pytest.skip("too many sets")
    first, second = it.sight.order()
    pixels = np.array(full.items, dtype=np.int64)
    other = None if it.sight.single else second[pixels]
    gaps = it.sight.gaps(pixels, np.zeros_like(pixels) if it.sight.single else first[pixels], other)
    return it, full, pixels, np.abs(gaps)


@pytest.mark.parametrize("seed", range(40))
def test_no_prices_say_less_than_an_attack_does(seed: int) -> None:
    """Prices of a colour or of each cell, the best and any others: exhaustive search never does worse."""
    it, full, pixels, gaps = exhausted(seed)
    rng = random.Random(seed)  # noqa: S311  (a test draws numbers, not secrets)
    lattice = full.cells.lattice
    side = {p: rng.random() < 0.4 for p in full.items}
    enters = np.array([side[p] for p in full.items], dtype=np.bool_)
    sight = it.sight
    cells = Cells.of(sight, gaps, pixels, enters)
    reaches = sorted({math.sqrt(e) for e, _ in full.energies if e < 1e6} | {0.1, 1.0})
    for reach in rng.sample(reaches, min(6, len(reaches))):
        budget = F(reach * (1 + 1e-6)) ** 2
        asked = Asked(budget, F(rng.randint(0, 4), 3), F(rng.randint(1, 4), 2))
        worst = full.most(budget, asked.leave, asked.enter, side)
        for alike in (True, False):
            count = lattice.colours if alike else len(lattice.colour)
            tried = [
                Prices(tuple(F(rng.randint(0, 12), rng.randint(1, 6)) for _ in range(count)), alike) for _ in range(8)
            ]
            tried += [cell_prices.best(cells.within(budget), asked).prices] if alike else []
            for prices in tried:
                assert sum(cells.bounds(asked, prices), F(0)) >= worst


def test_where_nothing_moves_level_pixels_alone_are_given_up() -> None:
    it = drawn(4)
    cells, _ = items_of(it)
    free = sum(int(key == 0) for key in cells.keys)
    for alike, count in ((True, cells.lattice.colours), (False, len(cells.lattice.colour))):
        assert sum(cells.bounds(Asked(F(0)), Prices((F(0),) * count, alike)), F(0)) == free


THREE = ["1", "1", "1"]
ROWS = [["1"] * 3, ["1"] * 3]
UNREAD = [None, "1", [], THREE, [*THREE, "1", "1"], [*THREE, "-1"], [*THREE, "inf"], [*THREE, 1], [*THREE, "2/4"]]
UNREAD += [[["1"]], [*ROWS, ["1"] * 2], [*ROWS, "1"]]


@pytest.mark.parametrize("written", UNREAD)
def test_what_are_no_prices_is_not_read(written: Any) -> None:
    rows = interpolation(4, 8, False, None)
    lattice = Lattice((rows, rows), (4, 4))
    assert read_prices(written, lattice) is None
    for prices in (Prices((F(1, 3),) * 4), Prices(tuple(F(n, 7) for n in range(9)), alike=False)):
        assert read_prices(written_prices(prices, lattice), lattice) == prices


@pytest.mark.parametrize("seed", range(20))
def test_doubles_are_written_as_integers(seed: int) -> None:
    dice = np.random.default_rng(seed)
    z = np.ldexp(dice.normal(size=(3, 4)), dice.integers(-1060, 400, (3, 4)))
    z[dice.random(z.shape) < 0.2] = 0
    found, unit = whole(z)
    assert [n * unit for n in found.reshape(-1)] == [F(v) for v in z.reshape(-1).tolist()]
    assert math.gcd(*(int(n) for n in found.reshape(-1))) % 2 == 1 or not z.any()


def test_long_integers_keep_their_order() -> None:
    keys = objects([3 << 4000, 1, (3 << 4000) + 1, 0, 1 << 3000])
    rough = nearly(keys)
    assert all(rough[i] <= rough[j] for i in range(5) for j in range(5) if keys[i] <= keys[j])
    cell = np.zeros(5, np.int64)
    lattice = Lattice((({0: F(1)},), tuple({0: F(1)} for _ in range(5))), (1, 1))
    sorted_ = Cells(lattice, keys[[2, 0, 1, 3, 4]], F(1), cell, np.zeros(5, np.bool_)).keys.tolist()
    assert sorted_ == sorted(keys.tolist())

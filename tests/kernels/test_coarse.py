"""The bound over cells: equal integers on every backend, and never below what an attack on coarse logits flips."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from robspec.kernels import coarse
from robspec.kernels.coarse import CoarseBatch
from robspec.kernels.coarse.grid import Axis, Grid
from robspec.kernels.coarse.reference import envelope, most
from robspec.kernels.knapsack import Items
from robspec.kernels.knapsack.budget import Budget
from robspec.lipschitz.ending import interpolation, matrix

Rows = list[dict[int, Fraction]]


def nearest(side: int, outputs: int) -> Rows:
    return [{o * side // outputs: Fraction(1)} for o in range(outputs)]


def lines(rng: random.Random, side: int, outputs: int) -> Rows:
    kind = rng.choice(["bilinear", "aligned", "nearest", "wide"])
    if kind == "nearest":
        return nearest(side, outputs)
    if kind == "wide":  # four nodes each, some weights negative, as those of cubic interpolation
        rows = []
        for o in range(outputs):
            base = o * side // outputs
            row = {min(base + j, side - 1): Fraction(rng.choice([-1, 1, 3, 5]), 8) for j in range(4)}
            rows.append(row)
        return rows
    return [dict(row) for row in interpolation(side, outputs, kind == "aligned", None)]


def budget(reach: Fraction, pixels: int, *, single: bool = False) -> Budget:
    return Budget.of(reach, Fraction(1), Fraction(2), pixels, single=single)


@pytest.mark.parametrize("seed", range(60))
def test_backends_agree(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311  (a test draws numbers, not secrets)
    torch.manual_seed(seed)
    b, k = rng.choice([1, 2, 3]), rng.choice([1, 2, 3, 5])
    h, w = rng.randint(1, 7), rng.randint(1, 7)
    height, width = rng.randint(1, 4 * h), rng.randint(1, 4 * w)
    grid = Grid(Axis.of(lines(rng, h, height), h), Axis.of(lines(rng, w, width), w))
    dtype = rng.choice([torch.float32, torch.float64])
    steps = rng.choice([1, 2, 1000])
    logits = ((torch.randn(b, k, h, w, dtype=torch.float64) * steps).round() / steps).to(dtype)
    if rng.random() < 0.6:  # one class is ahead almost everywhere: cells that stay closed
        logits[:, rng.randrange(k)] += rng.choice([2, 4])
    labels = torch.randint(-1, max(k, 2), (b, height, width))
    items = rng.choice([Items.CORRECT, Items.PREDICTED])
    asked = None if items is Items.PREDICTED and rng.random() < 0.5 else labels
    batch = CoarseBatch(logits, grid, asked, items, None if asked is None else -1)
    budgets = [
        budget(Fraction(reach), height * width, single=k == 1)
        for reach in ("0", "0.01", "0.3", "1", "3", "1e-200", "1e200", str(rng.random()))
    ]
    rng.shuffle(budgets)
    one, two = (coarse.prepare(name, batch) for name in ("reference", "cpu"))
    assert one.items.tolist() == two.items.tolist()
    assert one.predicted.tolist() == two.predicted.tolist()
    assert one.flips(budgets).tolist() == two.flips(budgets).tolist()
    # The same margins without a look at cells.
    assert one.full.items.tolist() == two.full.items.tolist()
    assert one.full.valid.tolist() == two.full.valid.tolist()
    assert one.full.flips(budgets).tolist() == two.full.flips(budgets).tolist()
    wanted = np.array([[0, 1, int(n) // 2, int(n), int(n) + 1] for n in one.items])
    radii = [p.full.radii(wanted, Fraction(3, 2), Fraction(2)).tolist() for p in (one, two)]
    assert radii[0] == radii[1]


@pytest.mark.parametrize("seed", range(20))
def test_margins_never_exceed_the_exact_ones(seed: int) -> None:
    """Full-size logits in rationals: what is computed in double lies below them, by little, on every pixel."""
    rng = random.Random(seed)  # noqa: S311  (a test draws numbers, not secrets)
    torch.manual_seed(seed)
    k, h, w = rng.choice([1, 2, 4]), rng.randint(1, 4), rng.randint(1, 4)
    rows, columns = lines(rng, h, rng.randint(1, 12)), lines(rng, w, rng.randint(1, 12))
    grid = Grid(Axis.of(rows, h), Axis.of(columns, w))
    size = rng.choice([1e-300, 1e-3, 1.0, 1e6, 1e120])
    logits = torch.randn(1, k, h, w, dtype=torch.float64) * size * 10.0 ** torch.randint(-6, 1, (1, k, h, w))
    exact = [[[Fraction(v) for v in line] for line in plane] for plane in logits[0].tolist()]
    height, width = grid.shape
    slack = Fraction(grid.slack(float(logits.abs().max())))
    for y, x in itertools.product(range(height), range(width)):
        meant = [
            sum(a * b * plane[i][j] for i, a in rows[y].items() for j, b in columns[x].items()) for plane in exact
        ]
        # One pixel is looked at: all others are left out.
        labels = torch.full((1, height, width), -1)
        labels[0, y, x] = 0
        batch = CoarseBatch(logits, grid, labels, Items.PREDICTED, -1)
        prepared = coarse.prepare("reference", batch)
        (d,) = prepared.full._margins[0]  # type: ignore[attr-defined]
        largest = sorted(meant)[-2:]
        margin = abs(meant[0]) if k == 1 else largest[1] - largest[0]
        assert 0 <= Fraction(d) <= margin * (1 + Fraction(1, 2**52))
        assert Fraction(d) >= margin * (1 - Fraction(1, 2**50)) - 2 * slack
        assert float(slack) <= 2.0**-40 * size * 10 * grid.rows.gain * grid.columns.gain + 1e-300


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13, 64, 100])
def test_the_network_sorts(count: int) -> None:
    from robspec.kernels.coarse._sorting import ascending

    dice = np.random.default_rng(count)
    block = np.concatenate([dice.integers(0, 2, (count + 2, 400)), dice.random((count + 2, 400))], axis=1)
    if count <= 8:  # all lists of zeros and ones, which decide
        ones = np.array(list(itertools.product([0.0, 1.0], repeat=count))).T
        block = np.concatenate([block, np.concatenate([ones, np.zeros((2, 2**count))])], axis=1)
    block = np.ascontiguousarray(block, dtype=np.float64)
    expected = np.concatenate([np.sort(block[:count], axis=0), block[count:]])
    ascending(block, count)
    assert block.tolist() == expected.tolist()


def test_planted_borders_odd_factors_and_several_images() -> None:
    """Two nodes x5: the border columns are their nodes alone, and every image has its own answer."""
    rows, columns = [{0: Fraction(1)}], [dict(r) for r in interpolation(2, 10, False, None)]
    grid = Grid(Axis.of(rows, 1), Axis.of(columns, 2))
    assert (grid.cells, grid.colours) == (1, 1)
    one = torch.tensor([[[[3.0, 3.0]], [[1.0, 1.0]]], [[[0.0, 4.0]], [[0.0, 0.0]]], [[[1.0, 1.0]], [[1.0, 1.0]]]])
    for name in ("reference", "cpu"):
        prepared = coarse.prepare(name, CoarseBatch(one, grid, None, Items.PREDICTED))
        # Margins are 2 everywhere, energies 2 / ||u||^2: 2 for the three pixels on either node or beyond, 50/17 and
        # 50/13 twice each in between.
        ask = [budget(Fraction(e), 10) for e in ("0", "1.414", "1.415", "1.714", "1.716", "1.961", "1.962")]
        flips = prepared.flips(ask).tolist()
        assert flips[0] == [0, 0, 6, 6, 8, 8, 10]
        # Three pixels of the second image are level whatever the budget, all of the third.
        assert [row[0] for row in flips] == [0, 3, 10]


def least_energy(matrix_: np.ndarray, needed: np.ndarray) -> float:
    """Least ||b||^2 with matrix b >= needed, by the dual problem of non-negative least squares."""
    if np.all(needed <= 0):
        return 0.0
    stacked = np.vstack([matrix_.T, needed[None, :]])
    target = np.zeros(len(stacked))
    target[-1] = 1
    solution, _ = nnls(stacked, target)
    residual = stacked @ solution - target
    return float("inf") if abs(residual[-1]) < 1e-12 else float(np.sum((residual[:-1] / residual[-1]) ** 2))


def attacks(u: np.ndarray, logits: np.ndarray) -> list[tuple[float, int]]:
    """Least energy of every set of pixels and every choice of the classes they go to."""
    classes, pixels = logits.shape
    best: dict[int, float] = {0: 0.0}
    predicted = logits.argmax(0)
    nodes = u.shape[1]
    ways = [[None] + [j for j in range(classes) if j != predicted[w]] for w in range(pixels)]
    for choice in itertools.product(*ways):
        rows, needed = [], []
        for w, j in enumerate(choice):
            if j is not None:
                row = np.zeros((classes, nodes))
                row[j] += u[w]
                row[predicted[w]] -= u[w]
                rows.append(row.reshape(-1))
                needed.append(logits[predicted[w], w] - logits[j, w])
        energy = least_energy(np.array(rows), np.array(needed)) if rows else 0.0
        best[len(rows)] = min(best.get(len(rows), np.inf), energy)
    return [(energy, count) for count, energy in best.items()]


CASES = [
    # classes, coarse height and width, pixels, kind
    (2, (1, 2), (1, 8), "bilinear"),
    (2, (2, 2), (3, 3), "bilinear"),
    (2, (2, 2), (3, 3), "aligned"),
    (2, (1, 5), (1, 9), "bilinear"),
    (2, (1, 4), (1, 9), "aligned"),
    (2, (2, 3), (4, 2), "nearest"),
    (3, (1, 3), (1, 6), "bilinear"),
    (3, (2, 2), (2, 3), "bilinear"),
    (3, (1, 2), (1, 6), "nearest"),
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", range(2))
def test_no_set_of_pixels_is_cheaper_than_the_bound(
    case: tuple[int, tuple[int, int], tuple[int, int], str], seed: int
) -> None:
    """Exhaustive search over sets and classes, the least energy of each by a quadratic program."""
    classes, (h, w), (height, width), kind = case
    rng = np.random.default_rng(seed)
    make = (
        nearest if kind == "nearest" else lambda a, b: [dict(r) for r in interpolation(a, b, kind == "aligned", None)]
    )
    rows, columns = make(h, height), make(w, width)
    grid = Grid(Axis.of(rows, h), Axis.of(columns, w))
    u = np.kron(matrix(rows, h).numpy(), matrix(columns, w).numpy())
    low = rng.normal(size=(classes, h * w))
    logits = low @ u.T
    found = attacks(u, logits)
    batch = CoarseBatch(torch.tensor(low).reshape(1, classes, h, w), grid, None, Items.PREDICTED)
    prepared = [coarse.prepare(name, batch) for name in ("reference", "cpu")]
    for energy, count in found:
        for side in (1 - 1e-6, 1 + 1e-6):
            spend = energy * side
            within = max(n for e, n in found if e <= spend * (1 + 1e-9))
            for p in prepared:
                assert p.flips_of(0, budget(Fraction(spend**0.5), height * width)) >= within, (energy, count)


def test_a_cell_costs_its_largest_item_and_a_tie_counts() -> None:
    """A node of four pixels that is level flips for nothing; of another, all four for the price of one."""
    logits = torch.tensor([[[[0.0, 2.0]], [[0.0, 0.0]]]])
    grid = Grid(Axis.of(nearest(1, 2), 1), Axis.of(nearest(2, 4), 2))
    for name in ("reference", "cpu"):
        prepared = coarse.prepare(name, CoarseBatch(logits, grid, None, Items.PREDICTED))
        reaches = [Fraction(float(e) ** 0.5) * (1 + Fraction(1, 10**9)) for e in (0, 0.01, 1, 2)]
        # Half of what the dearest costs: the relaxation takes half of its pixels.
        assert [prepared.flips_of(0, budget(reach, 8)) for reach in reaches] == [4, 4, 4, 8]


def test_a_tie_of_a_cells_largest_items() -> None:
    """Two pixels of a cell are level with each other at its largest key: both are given up with it, or neither."""
    columns = [{0: Fraction(1)}, {0: Fraction(3, 4), 1: Fraction(1, 4)}, {0: Fraction(1, 4), 1: Fraction(3, 4)}]
    grid = Grid(Axis.of(nearest(1, 1), 1), Axis.of(columns, 2))
    logits = torch.tensor([[[[1.0, 1.0]], [[0.0, 0.0]]]])
    for name in ("reference", "cpu"):
        prepared = coarse.prepare(name, CoarseBatch(logits, grid, None, Items.PREDICTED))
        # Energies 1/2, and 4/5 twice.
        reaches = [Fraction(float(e) ** 0.5) for e in (0.49, 0.51, 0.79, 0.81)]
        assert [prepared.flips_of(0, budget(reach, 3)) for reach in reaches] == [0, 1, 1, 3]


def test_the_envelope_holds_every_point_and_its_slopes_fall() -> None:
    rng = random.Random(1)  # noqa: S311  (a test draws numbers, not secrets)
    for _ in range(300):
        costs = [rng.choice([0, 0, 1, 2, 3, 7, 8, 50]) for _ in range(rng.randint(1, 12))]
        corners = envelope(costs)
        slopes = [Fraction(k2 - k1, c2 - c1) for (c1, k1), (c2, k2) in itertools.pairwise(corners)]
        assert all(a > b for a, b in itertools.pairwise(slopes))
        for k, c in enumerate(sorted(costs), start=1):
            high = next(
                (
                    k1 + s * (c - c1)
                    for ((c1, k1), (c2, _)), s in zip(itertools.pairwise(corners), slopes, strict=True)
                    if c1 <= c <= c2
                ),
                Fraction(corners[-1][1]),
            )
            assert k <= high


def test_the_relaxation_is_never_below_the_best_choice() -> None:
    """Every choice of one prefix per cell, by enumeration."""
    rng = random.Random(2)  # noqa: S311  (a test draws numbers, not secrets)
    for _ in range(200):
        cells = [[rng.randint(0, 9) for _ in range(rng.randint(1, 4))] for _ in range(rng.randint(1, 4))]
        limit = rng.randint(0, 20)
        points = [[(0, 0)] + [(c, sum(o <= c for o in cell)) for c in cell] for cell in cells]
        best = max(
            sum(k for _, k in choice) for choice in itertools.product(*points) if sum(c for c, _ in choice) <= limit
        )
        assert best <= most(cells, limit) <= best + max(map(len, cells))


def test_steep_ties_of_large_cells_are_ordered_exactly() -> None:
    """Slopes that doubles cannot tell apart."""
    from robspec.kernels.coarse._slopes import spend

    big = 2**22
    lengths = np.array([2**40 - 1, 2**40 - 2**18 - 3, 5], dtype=np.int64)
    gains = np.array([big, big - 1, 1], dtype=np.int64)
    for limit in (2**39, 2**40, 2**40 + 2**39, 2**41):
        left, flipped = limit, Fraction(0)
        for length, gain in sorted(
            zip(lengths.tolist(), gains.tolist(), strict=True), key=lambda p: Fraction(p[0], p[1])
        ):
            taken = min(left, length)
            flipped += Fraction(gain * taken, length)
            left -= taken
        assert spend(lengths, gains, limit) == int(flipped)


def test_cells_of_one_colour_share_no_node() -> None:
    rng = random.Random(3)  # noqa: S311  (a test draws numbers, not secrets)
    for _ in range(200):
        side = rng.randint(1, 9)
        rows = lines(rng, side, rng.randint(1, 30))
        axis = Axis.of(rows, side)
        nodes: dict[int, set[int]] = {}
        for row, cell, inverse in zip(rows, axis.cells, axis.inverse, strict=True):
            nodes.setdefault(cell, set()).update(node for node, weight in row.items() if weight)
            assert Fraction(inverse) * sum(weight**2 for weight in row.values()) <= 1
        for a, b in itertools.combinations(nodes, 2):
            assert a % axis.colours != b % axis.colours or not nodes[a] & nodes[b]


def test_a_grid_of_another_size_is_refused() -> None:
    grid = Grid(Axis.of(nearest(1, 2), 1), Axis.of(nearest(1, 2), 1))
    with pytest.raises(ValueError, match="grid of"):
        CoarseBatch(torch.zeros(1, 2, 2, 3), grid, None, Items.PREDICTED)
    with pytest.raises(ValueError, match="labels must be"):
        CoarseBatch(torch.zeros(1, 2, 1, 1), grid, torch.zeros(1, 2, 3, dtype=torch.int64), Items.CORRECT)
    with pytest.raises(ValueError, match="labels must be"):
        CoarseBatch(torch.zeros(1, 2, 1, 1), grid, None, Items.CORRECT)
    with pytest.raises(ValueError, match="nodes that exist"):
        Axis.of([{}], 1)

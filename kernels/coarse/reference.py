"""The definition of the bound over cells, in plain integers and rationals.

Slow on purpose and short enough to check by eye; every other backend must equal it.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np

from robspec import arrays
from robspec.kernels.coarse import ClassBatch, CoarseBatch, Keep
from robspec.kernels.coarse.grid import Grid
from robspec.kernels.coarse.shares import PARTS, Reached, nodes_of, validate, within
from robspec.kernels.knapsack import FloatArray, IntArray, Items
from robspec.kernels.knapsack.budget import Budget
from robspec.kernels.knapsack.reference import ReferencePrepared, margin, prediction

Point = tuple[int, int]
"""Cost in grid units, pixels flipped."""


def key(d: float, inverse_row: float, inverse_column: float) -> float:
    """Price a pixel: what its nodes' energy is at least, twice over unless there is a single logit.

    Args:
        d: its margin.
        inverse_row: 1 / (sum of squared weights) along the height, rounded down.
        inverse_column: the same along the width.

    Returns:
        d^2 / ||u||^2 in doubles; the factor (1 - 2^-45) of a budget's scale covers its four roundings.

    Source: RESOLUTION.md R1.
    """
    return d * d * inverse_row * inverse_column


def cost(of: float, budget: Budget) -> int:
    """Convert a key into integer grid units, rounding down; above the limit it is unaffordable."""
    units = of * budget.scale
    return int(units) if units < budget.limit + 1 else budget.limit + 1


def envelope(costs: Sequence[int]) -> list[Point]:
    """Give the corners of the upper concave envelope of what a cell gives up for its largest item.

    Args:
        costs: what each item of the cell costs, affordable ones only.

    Returns:
        Corners from left to right, the first at cost 0; slopes strictly fall.
    """
    ascending = sorted(costs)
    corners: list[Point] = [(0, 0)]
    for index, (c, k) in enumerate(zip(ascending, range(1, len(ascending) + 1), strict=True)):
        if index + 1 < len(ascending) and ascending[index + 1] == c:
            continue
        if c == 0:
            corners = [(0, k)]
            continue
        while len(corners) > 1:
            (c1, k1), (c2, k2) = corners[-2:]
            if Fraction(k2 - k1, c2 - c1) > Fraction(k - k2, c - c2):
                break
            corners.pop()
        corners.append((c, k))
    return corners


def most(cells: Sequence[Sequence[int]], limit: int) -> int:
    """Bound the flips in cells that share no node.

    Args:
        cells: of each cell, what its items cost.
        limit: the budget in grid units.

    Returns:
        The linear relaxation of the choice of one prefix per cell, rounded down: the choice itself is an integer.
    """
    flipped = Fraction(0)
    pieces: list[tuple[Fraction, int]] = []
    for costs in cells:
        corners = envelope([c for c in costs if c <= limit])
        flipped += corners[0][1]
        for (c1, k1), (c2, k2) in pairwise(corners):
            pieces.append((Fraction(k2 - k1, c2 - c1), c2 - c1))
    left = limit
    for slope, length in sorted(pieces, reverse=True):
        taken = min(length, left)
        flipped += slope * taken
        left -= taken
    return int(flipped)


def count_flips(keys: Sequence[tuple[int, int, float]], colours: tuple[int, int], budget: Budget) -> int:
    """Bound the flips of one image.

    Args:
        keys: of each item its cell's row and column and its key.
        colours: of rows and of columns.
        budget: with exponent 2, or 0 where nothing moves.
    """
    if budget.exponent == 0:
        return sum(price == 0 for _, _, price in keys)
    by_cell: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row, column, price in keys:
        by_cell[row, column].append(cost(price, budget))
    by_colour: dict[tuple[int, int], list[list[int]]] = defaultdict(list)
    for (row, column), costs in by_cell.items():
        by_colour[row % colours[0], column % colours[1]].append(costs)
    return sum(most(cells, budget.limit) for cells in by_colour.values())


def blend(weights: Sequence[float], values: Sequence[float]) -> float:
    """Add up products in doubles, from the first on."""
    total = weights[0] * values[0]
    for weight, value in zip(weights[1:], values[1:], strict=True):
        total += weight * value
    return total


def interpolated(plane: Sequence[Sequence[float]], grid: Grid) -> list[list[float]]:
    """Compute the full-size logits of one class, along the height first."""
    lines = [
        [blend(weights, [plane[cell + s][n] for s in range(grid.rows.span)]) for n in range(grid.columns.nodes)]
        for cell, weights in zip(grid.rows.cells, grid.rows.weights, strict=True)
    ]
    columns = list(zip(grid.columns.cells, grid.columns.weights, strict=True))
    return [[blend(weights, line[cell : cell + len(weights)]) for cell, weights in columns] for line in lines]


class ReferenceCoarse:
    """Keys of a batch as lists of doubles."""

    backend = "reference"

    def __init__(self, batch: CoarseBatch) -> None:
        grid = batch.grid
        b, k, _, _ = batch.logits.shape
        height, width = grid.shape
        self.pixels, self.single = height * width, k == 1
        self.grid, self._colours = grid, (grid.rows.colours, grid.columns.colours)
        self._keys: list[list[tuple[int, int, float]]] = []
        self._pixels: list[list[tuple[int, int, float]]] = []
        self.predicted = np.zeros((b, max(k, 2)), dtype=np.bool_)
        margins: list[list[float]] = []
        valid = []
        for i, image in enumerate(arrays.doubles(batch.logits).tolist()):
            slack = grid.slack(max(abs(value) for plane in image for line in plane for value in line))
            planes = [interpolated(plane, grid) for plane in image]
            found, kept, places, counted = [], [], [], 0
            for y in range(height):
                for x in range(width):
                    logits = [plane[y][x] for plane in planes]
                    predicted = prediction(logits)
                    self.predicted[i, predicted] = True
                    label = None if batch.labels is None else int(batch.labels[i, y, x])
                    if label is not None and label == batch.ignore:
                        continue
                    counted += 1
                    if batch.items is Items.CORRECT and label != predicted:
                        continue
                    d = max(margin(logits, predicted) - slack, 0.0)
                    kept.append(d)
                    price = key(d, grid.rows.inverse[y], grid.columns.inverse[x])
                    found.append((grid.rows.cells[y], grid.columns.cells[x], price))
                    places.append((y, x, d))
            self._keys.append(found)
            self._pixels.append(places)
            margins.append(kept)
            valid.append(counted)
        self.items = np.array([len(found) for found in self._keys], dtype=np.int64)
        self.full = ReferencePrepared.of_margins(margins, valid, pixels=self.pixels, single=self.single)

    def flips(self, budgets: Sequence[Budget]) -> IntArray:
        """See `CoarsePrepared.flips`."""
        counts = [[self.flips_of(i, budget) for budget in budgets] for i in range(len(self._keys))]
        return np.array(counts, dtype=np.int64).reshape(len(self._keys), len(budgets))

    def flips_of(self, image: int, budget: Budget) -> int:
        """See `CoarsePrepared.flips_of`."""
        return count_flips(self._keys[image], self._colours, budget)

    def reached(self, image: int, budget: Budget) -> Reached:
        """See `CoarsePrepared.reached`."""
        by_cell: dict[tuple[int, int], list[tuple[int, int, float]]] = defaultdict(list)
        for (row, column, price), pixel in zip(self._keys[image], self._pixels[image], strict=True):
            if cost(price, budget) <= budget.limit:
                by_cell[row, column].append(pixel)
        cells = sorted(by_cell)
        items = [pixel for cell in cells for pixel in by_cell[cell]]
        return Reached(
            np.array([d for _, _, d in items], dtype=np.float64),
            np.array([y for y, _, _ in items], dtype=np.int64),
            np.array([x for _, x, _ in items], dtype=np.int64),
            np.cumsum([0, *(len(by_cell[cell]) for cell in cells)], dtype=np.int64),
            np.array([row for row, _ in cells], dtype=np.int64),
            np.array([column for _, column in cells], dtype=np.int64),
        )

    def shared(self, reached: Reached, parts: IntArray, top: Budget) -> ReferenceShared:
        """See `CoarsePrepared.shared`."""
        return ReferenceShared(reached, self.grid, parts, top)


class ReferenceShared:
    """Keys at given parts as lists of doubles; see `shares`."""

    def __init__(self, reached: Reached, grid: Grid, parts: IntArray, top: Budget) -> None:
        validate(parts, nodes_of(reached, grid), grid.sides[0] * grid.sides[1])
        self._top, wide = top, grid.columns.span
        self._cells: list[list[float]] = []
        for cell, (begin, end) in enumerate(pairwise(reached.starts.tolist())):
            inverse = [PARTS / part for part in parts[cell].tolist()]
            keys = []
            for d, y, x in zip(*(line[begin:end].tolist() for line in _items(reached)), strict=True):
                total = 0.0
                for a, down in enumerate(grid.rows.weights[y]):
                    for b, along in enumerate(grid.columns.weights[x]):
                        total += down * down * (along * along) * inverse[a * wide + b]
                keys.append(d * d / total)
            self._cells.append(keys)

    def flips(self, budget: Budget) -> int:
        """See `Shared.flips`."""
        within(budget, self._top)
        return most([[cost(of, budget) for of in keys] for keys in self._cells], budget.limit)


def _items(reached: Reached) -> tuple[FloatArray | IntArray, ...]:
    return reached.margins, reached.rows, reached.columns


class ReferenceClass:
    """Keys of both kinds as lists of doubles."""

    def __init__(self, batch: ClassBatch) -> None:
        grid, inside = batch.grid, set(batch.inside)
        self.pixels, self.single = grid.shape[0] * grid.shape[1], batch.logits.shape[1] == 1
        self._grid, self.colours = grid, grid.colours
        self._keys: list[list[tuple[int, int, float, bool]]] = []
        counts = []
        for i, image in enumerate(arrays.doubles(batch.logits).tolist()):
            slack = grid.slack(max(abs(value) for plane in image for line in plane for value in line))
            planes = [interpolated(plane, grid) for plane in image]
            found, tally = [], [0, 0, 0, 0]
            for y in range(grid.shape[0]):
                for x in range(grid.shape[1]):
                    logits, label = [plane[y][x] for plane in planes], int(batch.labels[i, y, x])
                    if not 0 <= label < batch.classes:
                        continue
                    chosen, right = prediction(logits) in inside, label in inside
                    tally[(0 if right else 1) if chosen else (2 if right else 3)] += 1
                    if chosen != right:
                        continue
                    d = max(_gap(logits, inside) - slack, 0.0)
                    price = key(d, grid.rows.inverse[y], grid.columns.inverse[x])
                    found.append((grid.rows.cells[y], grid.columns.cells[x], price, not right))
            self._keys.append(found)
            counts.append(tally)
        self.counts = np.array(counts, dtype=np.int64)

    def stored(self, image: int, largest: Budget | None, keep: Keep) -> Callable[[], ReferenceClass]:
        """See `CoarseClass.stored`; it stays in memory."""
        del largest, keep
        found = copy.copy(self)
        found._keys, found.counts = [self._keys[image]], self.counts[image : image + 1]
        return lambda: found

    def given_up(self, image: int, budget: Budget, leave: IntArray, enter: IntArray) -> IntArray:
        """See `CoarseClass.given_up`."""
        found = np.zeros((4, self.colours), dtype=np.int64)
        by_cell: dict[tuple[int, int], list[tuple[int, bool]]] = defaultdict(list)
        for row, column, price, enters in self._keys[image]:
            units = (0 if price == 0 else 1) if budget.exponent == 0 else cost(price, budget)
            if units <= budget.limit:
                by_cell[row, column].append((units, enters))
        tall, wide = self._grid.rows.colours, self._grid.columns.colours
        for (row, column), items in by_cell.items():
            colour = row % tall * wide + column % wide
            best, a, b = (0, 0, 0, 0), 0, 0
            for units, enters in sorted(items):
                a, b = a + (not enters), b + enters
                worth = a * int(leave[colour]) + b * int(enter[colour]) - units
                if worth > best[0]:
                    best = worth, units, a, b
            found[:, colour] += np.array(best, dtype=np.int64)
        return found


def _gap(logits: Sequence[float], inside: set[int]) -> float:
    """How far the largest logit of a set and the largest of all others are apart."""
    if len(logits) == 1:
        return abs(logits[0])
    sides = [[v for k, v in enumerate(logits) if (k in inside) == side] for side in (True, False)]
    return abs(max(sides[0]) - max(sides[1]))

"""Pixels by the coarse nodes they are made of: cells, their colours, and the weights of each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

from robspec.kernels.knapsack.budget import round_down, round_up

_TINY = Fraction(1, 2**1000)
"""More than what numbers below the normal ones lose."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One dimension of a separable linear map from coarse nodes to pixels.

    Args:
        nodes: how many coarse nodes there are.
        cells: of each pixel, its cell, named by the first of the nodes it may be made of.
        weights: of each pixel, those of the nodes from its cell's first on, as many for every pixel, to nearest.
        inverse: of each pixel, 1 / (sum of its squared weights), rounded down.
        colours: cells whose names are equal modulo this number have no node in common.
        gain: the largest sum of the absolute weights of a pixel.
        exact: whether every pixel is one of the nodes, so that nothing is computed.
        convex: whether every pixel is a mean of nodes: weights from 0 to 1 whose sum is 1.
    """

    nodes: int
    cells: tuple[int, ...]
    weights: tuple[tuple[float, ...], ...]
    inverse: tuple[float, ...]
    colours: int
    gain: Fraction
    exact: bool
    convex: bool

    @staticmethod
    def of(rows: Sequence[Mapping[int, Fraction]], nodes: int) -> Axis:
        """Gather the pixels of one dimension in cells.

        Args:
            rows: of each pixel, the exact weights of the nodes it is made of; weights of 0 do not count.
            nodes: how many nodes there are.

        Returns:
            The axis. Every node of a pixel of cell b lies in b, ..., b + colours - 1, or there is one cell.

        Raises:
            ValueError: a pixel that is made of no node, or of one that does not exist.
        """
        used = [sorted(node for node, weight in row.items() if weight) for row in rows]
        if not rows or any(not nodes_of or nodes_of[0] < 0 or nodes_of[-1] >= nodes for nodes_of in used):
            raise ValueError("every pixel must be made of nodes that exist")
        # Cells ascend: a pixel that lacks its neighbours' first node, where a weight is 0, is of the cell before.
        first = list(accumulate((nodes_of[0] for nodes_of in reversed(used)), min))[::-1]
        span = max(nodes_of[-1] - begin + 1 for nodes_of, begin in zip(used, first, strict=True))
        # What a border pixel lacks of its neighbours' nodes does not make a cell of its own.
        cells = tuple(min(begin, max(nodes - span, 0)) for begin in first)
        squares = [sum((weight * weight for weight in row.values()), Fraction(0)) for row in rows]
        return Axis(
            nodes,
            cells,
            tuple(
                tuple(float(row.get(cell + j, 0)) for j in range(span)) for row, cell in zip(rows, cells, strict=True)
            ),
            tuple(round_down(1 / square) for square in squares),
            span if len(set(cells)) > 1 else 1,
            max(sum((abs(weight) for weight in row.values()), Fraction(0)) for row in rows),
            span == 1 and all(set(row.values()) <= {0, 1} for row in rows),
            all(min(row.values()) >= 0 and sum(row.values()) == 1 for row in rows),
        )

    @property
    def span(self) -> int:
        """How many nodes a pixel may be made of."""
        return len(self.weights[0])


@dataclass(frozen=True, slots=True)
class Grid:
    """A separable linear map from coarse logits to full-size ones, the same for every class.

    Args:
        rows: along the height.
        columns: along the width.
    """

    rows: Axis
    columns: Axis

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return len(self.rows.cells), len(self.columns.cells)

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width in nodes."""
        return self.rows.nodes, self.columns.nodes

    @property
    def convex(self) -> bool:
        """Whether every pixel is a mean of nodes."""
        return self.rows.convex and self.columns.convex

    @property
    def cells(self) -> int:
        """How many cells hold pixels."""
        return len(set(self.rows.cells)) * len(set(self.columns.cells))

    @property
    def colours(self) -> int:
        """In how many classes the cells fall, each of cells that share no node."""
        return self.rows.colours * self.columns.colours

    @property
    def enlarged(self) -> float:
        """How many times the largest absolute coarse logit a pixel's logit may be, 1 at least, rounded up."""
        return round_up(max(self.rows.gain * self.columns.gain, Fraction(1)))

    def slack(self, largest: float) -> float:
        """Bound by how much a margin that is computed in double may exceed the exact one.

        A sum of n products of rounded weights and numbers is off by at most n + 1 roundings, relative to the sum of
        what is added without signs. That is so along the height, whose error the width multiplies by its gain, and
        again along the width; a margin is the difference of two such numbers, rounded, of which this is taken and
        rounded again.

        Args:
            largest: of the absolute coarse logits.

        Returns:
            Rounded up; 0 where every pixel is a node, whose margin is one subtraction.
        """
        if self.rows.exact and self.columns.exact:
            return 0.0
        roundings = 4 * (self.rows.span + self.columns.span) + 16
        size = self.rows.gain * self.columns.gain * Fraction(largest)
        return round_up(Fraction(roundings, 2**53) * size + _TINY)

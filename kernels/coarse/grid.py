"""Pixels by the coarse nodes they are made of: cells, their colours, and the length of each row of weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from robspec.kernels.knapsack.budget import round_down


@dataclass(frozen=True, slots=True)
class Axis:
    """One dimension of a separable linear map from coarse nodes to pixels.

    Args:
        nodes: how many coarse nodes there are.
        cells: of each pixel, its cell, named by the first of the nodes it may be made of.
        inverse: of each pixel, 1 / (sum of its squared weights), rounded down.
        colours: cells whose names are equal modulo this number have no node in common.
    """

    nodes: int
    cells: tuple[int, ...]
    inverse: tuple[float, ...]
    colours: int

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
        span = max(nodes_of[-1] - nodes_of[0] + 1 for nodes_of in used)
        # What a border pixel lacks of its neighbours' nodes does not make a cell of its own.
        cells = tuple(min(nodes_of[0], max(nodes - span, 0)) for nodes_of in used)
        squares = [sum((weight * weight for weight in row.values()), Fraction(0)) for row in rows]
        colours = span if len(set(cells)) > 1 else 1
        return Axis(nodes, cells, tuple(round_down(1 / square) for square in squares), colours)


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
    def cells(self) -> int:
        """How many cells hold pixels."""
        return len(set(self.rows.cells)) * len(set(self.columns.cells))

    @property
    def colours(self) -> int:
        """In how many classes the cells fall, each of cells that share no node."""
        return self.rows.colours * self.columns.colours

"""Pixels and the coarse nodes that they are made of, in exact weights: cells, and which of them share a node."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from robspec.lipschitz.ending import cells_of, span_of
from robspec.lipschitz.upsampling import Rows
from robspec.oracle.scene import FloatArray, IntArray
from robspec.recheck.whole import ObjectArray, objects

_LONG = 128
"""Bits of a common denominator from which on numbers are rounded down to so many binary places."""


class Line:
    """One dimension.

    Args:
        rows: of each pixel, the exact weights of the nodes that it is made of.
        nodes: how many there are.

    Attributes:
        first: int64 [C], the first node of each cell.
        cell: int64 [W], the cell of each pixel.
        weights: int [W, span], those of the nodes from its cell's first on, in `unit`.
        near: float64 [W, span], the same, to nearest.
        gain: the largest sum of the absolute weights of a pixel.
        inverse: int [W], 1 / (sum of squared weights) in `inverse_unit`; rounded down where they have no short
            common denominator.
        colours: cells whose first nodes are equal modulo this number have no node in common.
    """

    def __init__(self, rows: Rows, nodes: int) -> None:
        self.nodes, self.span = nodes, span_of(rows)
        names = np.array(cells_of(rows, nodes), dtype=np.int64)
        self.first, cell = np.unique(names, return_inverse=True)
        self.cell: IntArray = cell.reshape(-1).astype(np.int64)
        table = [
            [row.get(int(name) + s, Fraction(0)) for s in range(self.span)]
            for row, name in zip(rows, names, strict=True)
        ]
        if any(
            sum(map(bool, listed)) != sum(map(bool, row.values())) for listed, row in zip(table, rows, strict=True)
        ):
            raise ValueError("a pixel is made of nodes outside its cell")
        whole = math.lcm(*(w.denominator for row in table for w in row))
        self.unit = Fraction(1, whole)
        self.weights = objects([int(w * whole) for row in table for w in row]).reshape(-1, self.span)
        self.near: FloatArray = np.array([[float(w) for w in row] for row in table])
        self.gain = max(sum(map(abs, row), Fraction(0)) for row in table)
        inverses = [1 / sum((w * w for w in row), Fraction(0)) for row in table]
        whole = math.lcm(*(i.denominator for i in inverses))
        whole = whole if whole.bit_length() <= _LONG else 1 << _LONG
        self.inverse = objects([math.floor(i * whole) for i in inverses])
        self.inverse_unit = Fraction(1, whole)
        self.colours = self.span if len(self.first) > 1 else 1


class Lattice:
    """Both dimensions.

    Args:
        lines: along the height and along the width.
        sides: height and width in nodes.

    Attributes:
        cell: int64 [H W], the number of each pixel's cell.
        colour: int64 [cells], where cells of one colour share no node.
        colours: how many there are.
    """

    def __init__(self, lines: tuple[Rows, Rows], sides: tuple[int, int]) -> None:
        self.down, self.along = (Line(rows, nodes) for rows, nodes in zip(lines, sides, strict=True))
        self.shape = len(self.down.cell), len(self.along.cell)
        self.bands = len(self.down.first), len(self.along.first)
        self.cell: IntArray = (self.down.cell[:, None] * self.bands[1] + self.along.cell[None, :]).reshape(-1)
        tall, wide = (line.first % line.colours for line in (self.down, self.along))
        self.colour: IntArray = (tall[:, None] * self.along.colours + wide[None, :]).reshape(-1)
        self.colours = self.down.colours * self.along.colours

    def dearest(self, prices: ObjectArray) -> int:
        """Add up the prices of the cells of every node, and give the largest sum.

        Args:
            prices: int [cells], at least 0.
        """
        table = prices.reshape(self.bands)
        sums = np.zeros((self.down.nodes, self.along.nodes), dtype=object)
        for s in range(self.down.span):
            for t in range(self.along.span):
                sums[np.ix_(self.down.first + s, self.along.first + t)] += table
        return int(sums.max())

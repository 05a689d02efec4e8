"""Cells that share the energy of their nodes by parts: one budget for all of them.

Where the parts that cells have of a node add up to no more than all of it, the parts' energies of all cells add up to
no more than the budget. A pixel of margin d takes d^2 / (sum of u_c^2 / part_c) of its cell's parts at least, half of
it where there are several logits. Any parts give a bound; a cell without parts gives up everything within reach.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from robspec.oracle.scene import IntArray
from robspec.recheck.cells import Cells
from robspec.recheck.lattice import Lattice
from robspec.recheck.sight import Sight
from robspec.recheck.whole import ObjectArray, objects

_MOST = 1 << 20
"""Parts of a node."""
_FINE = 64
"""Bits of a budget, and of what parts are divided by."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What cells have of their nodes.

    Args:
        whole: how many parts are all of a node.
        tops: int64 [C], the first node of each cell along the height.
        lefts: int64 [C], along the width.
        of: int64 [C, S * T], at least 1 each, those of the first row of nodes first.
    """

    whole: int
    tops: IntArray
    lefts: IntArray
    of: IntArray

    def written(self) -> dict[str, Any]:
        """Write them as `read` reads them."""
        rows = np.concatenate([self.tops[:, None], self.lefts[:, None], self.of], axis=1)
        return {"whole": self.whole, "cells": rows.tolist()}

    @staticmethod
    def read(written: object, lattice: Lattice) -> Parts | None:
        """Read parts; None for anything else, and where more than all of a node is given away.

        Args:
            written: of a certificate.
            lattice: says which cells there are, and of what nodes each is made.
        """
        if not isinstance(written, dict) or set(written) != {"whole", "cells"}:
            return None
        whole, rows = written["whole"], written["cells"]
        down, along = lattice.down, lattice.along
        length = 2 + down.span * along.span
        if type(whole) is not int or not 1 <= whole <= _MOST or not isinstance(rows, list):
            return None
        if len(rows) > math.prod(lattice.bands) or not all(isinstance(r, list) and len(r) == length for r in rows):
            return None
        if not all(type(n) is int and 0 <= n <= _MOST for row in rows for n in row):
            return None
        table = np.array(rows, dtype=np.int64).reshape(-1, length)
        found = Parts(whole, table[:, 0], table[:, 1], table[:, 2:])
        return found if found._sound(lattice) else None

    def _sound(self, lattice: Lattice) -> bool:
        down, along = lattice.down, lattice.along
        known = np.isin(self.tops, down.first) & np.isin(self.lefts, along.first)
        alone = len(np.unique(self.tops * along.nodes + self.lefts)) == len(self.tops)
        if not known.all() or not alone or (self.of < 1).any():
            return False
        given = np.zeros((down.nodes, along.nodes), np.int64)
        for s in range(down.span):
            for t in range(along.span):
                np.add.at(given, (self.tops + s, self.lefts + t), self.of[:, s * along.span + t])
        return bool((given <= self.whole).all())


class Together:
    """All cells of a lattice with one budget, whose prices are one price."""

    colours = 1

    def __init__(self, lattice: Lattice) -> None:
        self.colour: IntArray = np.zeros_like(lattice.colour)
        self.bands = lattice.bands

    def dearest(self, prices: ObjectArray) -> int:
        """What all parts of a node cost together at most."""
        return int(prices.max())


def parted(sight: Sight, gaps: ObjectArray, pixels: IntArray, budget: Fraction, parts: Parts) -> Cells:
    """Price the items within reach at given parts.

    Args:
        sight: the image.
        gaps: int [n], by how much a class is ahead, in units of the image.
        pixels: int64 [n].
        budget: of energy, above 0.
        parts: sound ones.
    """
    lattice = sight.lattice
    down, along = lattice.down, lattice.along
    # What takes more than the budget at all parts of its nodes takes more at fewer.
    y, x = np.divmod(pixels, lattice.shape[1])
    alone = gaps * gaps * down.inverse[y] * along.inverse[x]
    unit = sight.unit**2 * down.inverse_unit * along.inverse_unit / (1 if sight.single else 2)
    near = np.flatnonzero((alone <= math.floor(budget / unit)).astype(np.bool_))
    y, x, gaps, cell = y[near], x[near], gaps[near], lattice.cell[pixels[near]]
    row = np.full(len(lattice.colour), -1)
    places = np.searchsorted(down.first, parts.tops), np.searchsorted(along.first, parts.lefts)
    row[places[0] * lattice.bands[1] + places[1]] = np.arange(len(parts.tops))
    own = row[cell]
    given = np.flatnonzero(own >= 0)
    # Rounded up: what parts are divided by makes a pixel cheaper.
    inverse = objects([-(-(parts.whole << _FINE) // n) for n in parts.of.reshape(-1).tolist()])
    inverse = inverse.reshape(-1, down.span * along.span)[own[given]]
    total = objects([0] * len(given))
    for s in range(down.span):
        for t in range(along.span):
            weight = down.weights[y[given], s] * along.weights[x[given], t]
            total = total + weight * weight * inverse[:, s * along.span + t]
    base = sight.unit**2 * 2**_FINE / (down.unit * along.unit) ** 2 / (1 if sight.single else 2)
    shift = max(0, math.ceil(base / budget).bit_length() + _FINE)
    keys = objects([0] * len(near))
    keys[given] = (gaps[given] * gaps[given] << shift) // total
    none = np.zeros(len(near), np.bool_)
    return Cells(Together(lattice), keys, base / 2**shift, cell, none)  # type: ignore[arg-type]

"""One image before a fixed up-sampling, and its full-size logits U l without rounding, where they are asked for."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from robspec.oracle.scene import BoolArray, FloatArray, IntArray
from robspec.recheck.lattice import Lattice
from robspec.recheck.whole import ObjectArray, whole

_AT_ONCE = 1 << 21
"""Logits of a strip of rows."""


class Sight:
    """An image.

    Which logits of a pixel are the largest is read off doubles where these leave no doubt, and else off integers; how
    far they are apart is always computed in integers.

    Args:
        logits: float64 [K, h, w], finite.
        lattice: how pixels are made of them.
    """

    def __init__(self, logits: FloatArray, lattice: Lattice) -> None:
        self.lattice, self.single = lattice, len(logits) == 1
        self._near = logits
        self._exact, unit = whole(logits)
        self.unit = unit * lattice.down.unit * lattice.along.unit
        # Each weight, product and sum along the height is rounded once, and again along the width.
        gain = lattice.down.gain * lattice.along.gain * Fraction(float(np.abs(logits).max()))
        roundings = 2 * (lattice.down.span + lattice.along.span) + 16
        self._off = float(gain * Fraction(roundings, 2**53)) * 1.001 + 1e-300
        self._order: tuple[IntArray, IntArray] | None = None

    def __len__(self) -> int:
        return len(self.lattice.cell)

    @property
    def classes(self) -> int:
        """Number of classes, 2 for a single logit."""
        return max(len(self._near), 2)

    @property
    def predicted(self) -> IntArray:
        """Int64 [H W], the first class of the largest logit; of a single logit 1 where it is above 0."""
        return self.order()[0]

    def order(self) -> tuple[IntArray, IntArray]:
        """Give the class that is predicted at each pixel, and the one that comes second."""
        if self._order is None:
            if self.single:
                pixels = np.arange(len(self))
                first = (self.gaps(pixels, np.zeros_like(pixels)) > 0).astype(np.int64)
                self._order = first, 1 - first
            else:
                every = np.ones(self.classes, np.bool_)
                (first,) = self._leading((every,))
                (second,) = self._leading((every,), without=first)
                self._order = first, second
        return self._order

    def sides(self, inside: BoolArray) -> tuple[IntArray, IntArray]:
        """Give the largest class of a set at each pixel, and the largest of all others; of several logits."""
        within, beside = self._leading((inside, ~inside))
        return within, beside

    def gaps(self, chosen: IntArray, one: IntArray, other: IntArray | None = None) -> ObjectArray:
        """Compute by how much one class is ahead of another, in `unit`, without rounding.

        Args:
            chosen: int64 [n], pixels.
            one: int64 [n], a class for each.
            other: int64 [n]; None for 0 instead.
        """
        down, along = self.lattice.down, self.lattice.along
        y, x = np.divmod(chosen, self.lattice.shape[1])
        top, left = down.first[down.cell[y]], along.first[along.cell[x]]
        total = np.zeros(len(chosen), dtype=object)
        for s in range(down.span):
            row = np.zeros(len(chosen), dtype=object)
            for t in range(along.span):
                ahead = self._exact[one, top + s, left + t]
                ahead = ahead if other is None else ahead - self._exact[other, top + s, left + t]
                row = row + along.weights[x, t] * ahead
            total = total + down.weights[y, s] * row
        return total

    def _leading(self, sets: tuple[BoolArray, ...], without: IntArray | None = None) -> list[IntArray]:
        """Find the first class of the largest logit among each set, one class of each pixel left out."""
        height, width = self.lattice.shape
        found = [np.empty(height * width, np.int64) for _ in sets]
        strip = max(1, _AT_ONCE // (len(self._near) * width))
        for begin in range(0, height, strip):
            lines = np.arange(begin, min(begin + strip, height))
            pixels = np.arange(begin * width, (int(lines[-1]) + 1) * width)
            values = self._interpolated(lines).reshape(len(self._near), -1)
            for out, chosen in zip(found, sets, strict=True):
                allowed = np.broadcast_to(chosen[:, None], values.shape)
                if without is not None:
                    allowed = allowed & (np.arange(len(values))[:, None] != without[pixels])
                out[pixels] = self._first(np.where(allowed, values, -np.inf), allowed, pixels)
        return found

    def _first(self, values: FloatArray, allowed: BoolArray, pixels: IntArray) -> IntArray:
        top: IntArray = values.argmax(axis=0)
        bar = values[top, np.arange(len(pixels))]
        doubt = np.flatnonzero((values >= bar - 2 * self._off).sum(axis=0) > 1)
        if len(doubt):
            exact = [self.gaps(pixels[doubt], np.full(len(doubt), k)) for k in range(len(values))]
            for at, column in zip(doubt.tolist(), zip(*exact, strict=True), strict=True):
                top[at] = max((k for k in range(len(values)) if allowed[k, at]), key=lambda k: (column[k], -k))
        return top

    def _interpolated(self, lines: IntArray) -> FloatArray:
        """Compute full-size logits of some rows in doubles, each within `_off`."""
        found = self._near
        axes = ((self.lattice.down, lines, 1), (self.lattice.along, np.arange(self.lattice.shape[1]), 2))
        for line, chosen, dim in axes:
            first = line.first[line.cell[chosen]]
            shape = (1, -1, 1) if dim == 1 else (1, 1, -1)
            total: FloatArray = line.near[chosen, 0].reshape(shape) * found.take(first, axis=dim)
            for s in range(1, line.span):
                total = total + line.near[chosen, s].reshape(shape) * found.take(first + s, axis=dim)
            found = total
        return found

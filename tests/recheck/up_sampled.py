"""Random coarse logits under a fixed up-sampling whose weights are exact rationals."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from robspec.lipschitz.upsampling import Rows
from robspec.oracle.scene import Scene
from robspec.recheck.cells import Cells
from robspec.recheck.lattice import Lattice
from robspec.recheck.sight import Sight
from tests.kernels.test_coarse import lines

F = Fraction


@dataclass(frozen=True)
class Drawn:
    """A problem.

    Args:
        lines: weights along the height and along the width.
        sides: height and width in nodes.
        low: float64 [K, h, w].
        labels: int64 [H W].
    """

    lines: tuple[Rows, Rows]
    sides: tuple[int, int]
    low: np.ndarray
    labels: np.ndarray

    @property
    def lattice(self) -> Lattice:
        """Its geometry."""
        return Lattice(self.lines, self.sides)

    @property
    def sight(self) -> Sight:
        """Its logits."""
        return Sight(self.low, self.lattice)

    @property
    def rows(self) -> list[dict[tuple[int, int], Fraction]]:
        """Of each pixel the exact weight of each node."""
        pairs = itertools.product(*self.lines)
        return [
            {(y, x): a * b for (y, a), (x, b) in itertools.product(down.items(), along.items()) if a * b}
            for down, along in pairs
        ]

    @property
    def full(self) -> list[list[Fraction]]:
        """Full-size logits of each pixel, by the definition."""
        classes = range(len(self.low))
        return [
            [sum((w * F(float(self.low[k, y, x])) for (y, x), w in row.items()), F(0)) for k in classes]
            for row in self.rows
        ]

    @property
    def scene(self) -> Scene:
        """The annotation, 255 ignored, without logits."""
        count = len(self.labels)
        here = np.ones(count, np.bool_)
        return Scene(np.empty((count, 0)), self.labels, self.labels == 255, here, np.ones(count), 2)


def drawn(seed: int, *, nodes: int = 6, classes: tuple[int, ...] = (1, 2, 3, 5), times: int = 4) -> Drawn:
    """Draw a problem, many of its pixels on ties."""
    rng, dice = random.Random(seed), np.random.default_rng(seed)  # noqa: S311  (a test draws numbers, not secrets)
    h, w = rng.randint(1, nodes), rng.randint(1, nodes)
    sides = rng.randint(1, times * h), rng.randint(1, times * w)
    drawn_lines = tuple(tuple(lines(rng, n, out)) for n, out in zip((h, w), sides, strict=True))
    k, steps = rng.choice(classes), rng.choice([1, 2, 1000, 2**45])
    low = np.round(dice.normal(size=(k, h, w)) * steps) / steps
    if rng.random() < 0.2:
        low[..., dice.random((h, w)) < 0.3] *= 2.0**-40
    labels = dice.integers(0, max(k, 2), sides[0] * sides[1])
    labels[dice.random(len(labels)) < 0.1] = 255
    return Drawn((drawn_lines[0], drawn_lines[1]), (h, w), low, labels)


def items_of(it: Drawn) -> tuple[Cells, np.ndarray]:
    """The pixels that are right, with their cells, as an accuracy counts them."""
    pixels, gaps = right(it)
    return Cells.of(it.sight, gaps, pixels, np.zeros(len(pixels), np.bool_)), pixels


def right(it: Drawn) -> tuple[np.ndarray, np.ndarray]:
    """Pixels that are right, and their margins in units of the image."""
    sight = it.sight
    first, second = sight.order()
    pixels = np.flatnonzero((first == it.labels) & (it.labels != 255))
    if sight.single:
        return pixels, np.abs(sight.gaps(pixels, np.zeros_like(pixels)))
    return pixels, sight.gaps(pixels, first[pixels], second[pixels])

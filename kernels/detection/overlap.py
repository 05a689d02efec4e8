"""Overlaps of boxes, compared exactly: doubles decide where they are sure, rationals where they are not.

Widths and heights are clamped at 0 each for itself, and two boxes without area overlap by 0. A box that moves is two
boxes, the least and the largest of each coordinate. The overlap rises and then falls with every single coordinate, so
its minimum over moves is at corners and its maximum where coordinates meet (DETECTION.md D2).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from robspec.kernels.detection import BoolArray, FloatArray

_SIDES = list(itertools.product((False, True), repeat=4))
Signs: TypeAlias = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Boxes and how far each coordinate can go.

    Args:
        low: [..., 4], least coordinates.
        high: [..., 4], largest coordinates.
    """

    low: FloatArray
    high: FloatArray

    @staticmethod
    def moved(boxes: FloatArray, rho: float) -> Boxes:
        """Let every coordinate move by rho, rounded outwards."""
        if rho == 0.0:
            return Boxes(boxes, boxes)
        return Boxes(np.nextafter(boxes - rho, -np.inf), np.nextafter(boxes + rho, np.inf))

    @property
    def still(self) -> bool:
        """Whether no box moves."""
        return self.low is self.high

    def __getitem__(self, index: Any) -> Boxes:
        found = self.low[index]
        return Boxes(found, found if self.still else self.high[index])


def sign(a: FloatArray, b: FloatArray, threshold: Fraction) -> Signs:
    """Compare overlaps with a threshold, exactly.

    Args:
        a: [4], [n, 4] or [n, m, 4], finite.
        b: the same, broadcast against a; not both [4].
        threshold: exact.

    Returns:
        -1, 0 or 1 where the overlap is below, at or above the threshold.
    """
    from robspec.kernels.detection._pairs import signs

    first, second = _rows(a), _rows(b)
    sides = (*_sides(a), *_sides(b))
    table = signs(first, second, *sides, float(threshold))
    if not table.all():
        for i, j in zip(*np.nonzero(table == 0), strict=True):
            p = (0 if sides[0] == 1 else i) * sides[1] + (0 if sides[1] == 1 else j)
            q = (0 if sides[2] == 1 else i) * sides[3] + (0 if sides[3] == 1 else j)
            table[i, j] = exact_sign(first[p].tolist(), second[q].tolist(), threshold)
    return table if a.ndim == 3 or b.ndim == 3 else np.asarray(table[0])


def _rows(a: FloatArray) -> FloatArray:
    return np.ascontiguousarray(a).reshape(-1, 4)


def _sides(a: FloatArray) -> tuple[int, int]:
    """Rows and columns of a table of boxes."""
    if a.ndim == 2:
        return 1, len(a)
    return (1, 1) if a.ndim == 1 else (a.shape[0], a.shape[1])


def exact_sign(a: list[float], b: list[float], threshold: Fraction) -> int:
    """Compare one overlap with a threshold in rationals; the unit of length is any that measures every coordinate."""
    parts = [x.as_integer_ratio() for x in (*a, *b)]
    # Denominators of doubles are powers of two.
    unit = max(d for _, d in parts)
    p, q, r, s, t, u, v, w = (n * (unit // d) for n, d in parts)
    both = max(min(r, v) - max(p, t), 0) * max(min(s, w) - max(q, u), 0)
    union = max(r - p, 0) * max(s - q, 0) + max(v - t, 0) * max(w - u, 0) - both
    gap = both * threshold.denominator - union * threshold.numerator if union else -threshold.numerator
    return (gap > 0) - (gap < 0)


def surely_at_least(boxes: Boxes, fixed: FloatArray, threshold: Fraction) -> BoolArray:
    """Tell which boxes overlap fixed ones by at least a threshold however they move."""
    if boxes.still:
        return np.asarray(sign(boxes.low, fixed, threshold) >= 0)
    return _every(boxes, Boxes(fixed, fixed), [(side, side) for side in _SIDES], threshold, least=0)


def surely_less(boxes: Boxes, fixed: FloatArray, threshold: Fraction) -> BoolArray:
    """Tell which boxes overlap fixed ones by less than a threshold however they move."""
    nearest = np.minimum(np.maximum(fixed, boxes.low), boxes.high)
    return np.asarray(sign(nearest, fixed, threshold) < 0)


def surely_more(a: Boxes, b: Boxes, threshold: Fraction) -> BoolArray:
    """Tell which pairs overlap by more than a threshold however both move."""
    if a.still and b.still:
        return np.asarray(sign(a.low, b.low, threshold) > 0)
    return _every(a, b, [(side, tuple(not s for s in side)) for side in _SIDES], threshold, least=1)


def perhaps_more(a: Boxes, b: Boxes, threshold: Fraction) -> BoolArray:
    """Tell which pairs can overlap by more than a threshold."""
    if a.still and b.still:
        return np.asarray(sign(a.low, b.low, threshold) > 0)
    first, second = _paired(a, b)
    found = np.zeros(first.low.shape[:-1], dtype=np.bool_)
    # Where even the largest boxes are apart nothing overlaps; a negative threshold is met all the same.
    wide = np.minimum(first.high[..., 2], second.high[..., 2]) >= np.maximum(first.low[..., 0], second.low[..., 0])
    tall = np.minimum(first.high[..., 3], second.high[..., 3]) >= np.maximum(first.low[..., 1], second.low[..., 1])
    near = (wide & tall) if threshold >= 0 else np.ones_like(found)
    found[near] = _somewhere(first[near], second[near], threshold)
    return found


def _somewhere(a: Boxes, b: Boxes, threshold: Fraction) -> BoolArray:
    low, high = np.maximum(a.low, b.low), np.minimum(a.high, b.high)
    # Where the ranges of a side do not meet, the nearest ends: of a its end towards b, and the other way round.
    meet = low <= high
    a_near = np.where(a.low > b.high, a.low, a.high)
    b_near = np.where(a.low > b.high, b.high, b.low)
    found = np.zeros(len(low), dtype=np.bool_)
    for side in _SIDES:
        left = np.flatnonzero(~found)
        end = np.where(np.array(side), high[left], low[left])
        mine, other = (np.where(meet[left], end, near[left]) for near in (a_near, b_near))
        found[left] = sign(mine, other, threshold) > 0
    return found


def surely_inside(boxes: Boxes, regions: FloatArray, threshold: Fraction) -> BoolArray:
    """Tell which boxes have at least a share of their own area in a region, however they move.

    The least intersection is compared with the largest area.

    Args:
        boxes: [..., 4].
        regions: [..., 4], broadcast.
        threshold: the share, above 0.
    """
    small = np.stack([boxes.high[..., 0], boxes.high[..., 1], boxes.low[..., 2], boxes.low[..., 3]], -1)
    large = np.stack([boxes.low[..., 0], boxes.low[..., 1], boxes.high[..., 2], boxes.high[..., 3]], -1)
    first, second, third = np.broadcast_arrays(small, large, regions)
    found = np.zeros(first.shape[:-1], dtype=np.bool_)
    for place in np.ndindex(*found.shape):
        s, g, r = ([Fraction(x) for x in part[place].tolist()] for part in (first, second, third))
        zero = Fraction(0)
        both = max(zero, min(s[2], r[2]) - max(s[0], r[0])) * max(zero, min(s[3], r[3]) - max(s[1], r[1]))
        area = max(zero, g[2] - g[0]) * max(zero, g[3] - g[1])
        found[place] = area > 0 and both >= threshold * area
    return found


def _corner(boxes: Boxes, side: tuple[bool, ...]) -> FloatArray:
    return np.where(np.array(side), boxes.high, boxes.low)


def _paired(a: Boxes, b: Boxes) -> tuple[Boxes, Boxes]:
    """Write every pair out."""
    low_a, low_b, high_a, high_b = np.broadcast_arrays(a.low, b.low, a.high, b.high)
    return Boxes(low_a, high_a), Boxes(low_b, high_b)


def _every(
    a: Boxes,
    b: Boxes,
    sides: Sequence[tuple[tuple[bool, ...], tuple[bool, ...]]],
    threshold: Fraction,
    *,
    least: int,
) -> BoolArray:
    """Tell which pairs compare as at least `least` at every one of some corners; few are left after the first."""
    first, second = _paired(a, b)
    shape = first.low.shape[:-1]
    mine, other = (Boxes(x.low.reshape(-1, 4), x.high.reshape(-1, 4)) for x in (first, second))
    left = np.arange(len(mine.low))
    for side, opposite in sides:
        if len(left):
            left = left[sign(_corner(mine[left], side), _corner(other[left], opposite), threshold) >= least]
    found = np.zeros(len(mine.low), dtype=np.bool_)
    found[left] = True
    return found.reshape(shape)

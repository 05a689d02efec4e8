"""Overlaps of boxes that move, compared with a threshold without rounding.

Every overlap is a function of two axes: how long both boxes are along each, and how long what they share is. Of boxes
with an area it exceeds t iff shared_x shared_y (1 + t) > t (a_x a_y + b_x b_y). Each coordinate moves for itself, so
what an attack can do along one axis is a few extreme cases, and all pairs of them are tried. Doubles decide where the
difference is larger than their error, rationals where it is not.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from robspec.oracle.scene import BoolArray, FloatArray, IntArray

_ERROR = 2.0**-44
Ends: TypeAlias = tuple[Fraction, Fraction]
Axis: TypeAlias = tuple[Ends, Ends]
"""Where one box begins and ends along an axis, and another."""
_Doubles: TypeAlias = tuple[tuple[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]


@dataclass(frozen=True, slots=True, eq=False)
class Moving:
    """Boxes each of whose coordinates moves by so much at most.

    Args:
        boxes: [n, 4], finite doubles: x1, y1, x2, y2.
        far: how far, exact.
    """

    boxes: FloatArray
    far: Fraction = Fraction(0)


def always(a: Moving, i: IntArray, b: Moving, j: IntArray, t: Fraction, *, strictly: bool) -> BoolArray:
    """Which pairs overlap by more than t (or by at least t) wherever they move."""
    found = np.ones(len(i), dtype=np.bool_)
    for case in _cases(_least, a, b):
        left = np.flatnonzero(found)
        if not len(left):
            break
        sign = _signs(case, a, i[left], b, j[left], t)
        found[left] = sign > 0 if strictly else sign >= 0
    return found


def ever(a: Moving, i: IntArray, b: Moving, j: IntArray, t: Fraction, *, strictly: bool) -> BoolArray:
    """Which pairs can overlap by more than t (or by at least t)."""
    found = np.zeros(len(i), dtype=np.bool_)
    for case in _cases(_most, a, b):
        left = np.flatnonzero(~found)
        if not len(left):
            break
        sign = _signs(case, a, i[left], b, j[left], t)
        found[left] = sign > 0 if strictly else sign >= 0
    return found


def share(box: list[float], far: Fraction, region: list[float]) -> Fraction:
    """The least share of a box's own area that lies in a region: least of what is inside, most of the whole."""
    p, g = [Fraction(x) for x in box], [Fraction(x) for x in region]
    inner = [min(p[n + 2] - far, g[n + 2]) - max(p[n] + far, g[n]) for n in (0, 1)]
    whole = [p[n + 2] - p[n] + 2 * far for n in (0, 1)]
    area = max(whole[0], Fraction(0)) * max(whole[1], Fraction(0))
    return max(inner[0], Fraction(0)) * max(inner[1], Fraction(0)) / area if area else Fraction(0)


_Case: TypeAlias = tuple[int, int]
_Extreme: TypeAlias = Callable[[int, Fraction, Fraction, Axis], Axis]


def _cases(extreme: _Extreme, a: Moving, b: Moving) -> Iterator[tuple[_Extreme, _Case]]:
    """Four extreme cases along each axis; one where nothing moves."""
    each = range(4) if a.far or b.far else range(1)
    for x, y in itertools.product(each, each):
        yield extreme, (x, y)


def _least(case: int, far: Fraction, other: Fraction, axis: Axis) -> Axis:
    """Both begin, and both end, as far apart as they can: the first box to one side, the second to the other."""
    (a, b), (c, d) = axis
    begin, end = (1 if case & 1 else -1), (1 if case & 2 else -1)
    return (a + begin * far, b + end * far), (c - begin * other, d - end * other)


def _most(case: int, far: Fraction, other: Fraction, axis: Axis) -> Axis:
    """Both begin, and both end, as near to each other as they can; if they can at one point, at either extreme."""
    (a, b), (c, d) = axis
    begins = _met(a, far, c, other, up=bool(case & 1))
    ends = _met(b, far, d, other, up=bool(case & 2))
    return (begins[0], ends[0]), (begins[1], ends[1])


def _met(x: Fraction, far: Fraction, y: Fraction, other: Fraction, *, up: bool) -> Ends:
    low, high = max(x - far, y - other), min(x + far, y + other)
    if low <= high:
        return (high, high) if up else (low, low)
    return (x + far, y - other) if x < y else (x - far, y + other)


def _signs(
    chosen: tuple[_Extreme, _Case], a: Moving, i: IntArray, b: Moving, j: IntArray, t: Fraction
) -> npt.NDArray[np.int64]:
    """The sign of overlap - t of each pair in one case."""
    extreme, case = chosen
    first, second = a.boxes[i], b.boxes[j]
    gap, error = _estimate(extreme, case, first, float(a.far), second, float(b.far), float(t))
    found = np.where(gap > 0, 1, -1).astype(np.int64)
    with np.errstate(invalid="ignore"):
        doubtful = ~(np.abs(gap) > error)
    for n in np.flatnonzero(doubtful).tolist():
        p, g = [Fraction(x) for x in first[n].tolist()], [Fraction(x) for x in second[n].tolist()]
        axes = [extreme(case[k], a.far, b.far, ((p[k], p[k + 2]), (g[k], g[k + 2]))) for k in (0, 1)]
        found[n] = _sign(axes[0], axes[1], t)
    return found


def _sign(x: Axis, y: Axis, t: Fraction) -> int:
    shared, mine, other = Fraction(1), Fraction(1), Fraction(1)
    for (a, b), (c, d) in (x, y):
        shared *= max(min(b, d) - max(a, c), Fraction(0))
        mine *= max(b - a, Fraction(0))
        other *= max(d - c, Fraction(0))
    union = mine + other - shared
    gap = shared - t * union if union else -t
    return (gap > 0) - (gap < 0)


def _estimate(
    extreme: _Extreme, case: _Case, a: FloatArray, far: float, b: FloatArray, other: float, t: float
) -> tuple[FloatArray, FloatArray]:
    """The same difference in doubles, and more than its error."""
    shared = mine = both = np.ones(len(a))
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        largest = np.maximum(np.abs(a).max(axis=1, initial=0), np.abs(b).max(axis=1, initial=0)) + far + other
        lengths = largest * 2.0**-40
        for k in (0, 1):
            ends = _doubles(extreme, case[k], far, other, (a[:, k], a[:, k + 2]), (b[:, k], b[:, k + 2]))
            (p, q), (r, s) = ends
            one, two = np.maximum(q - p, 0.0), np.maximum(s - r, 0.0)
            shared = shared * np.maximum(np.minimum(q, s) - np.maximum(p, r), 0.0)
            mine, both = mine * one, both * two
            lengths = lengths + one + two
        gap = shared * (1.0 + t) - t * (mine + both)
        error = _ERROR * (1.0 + abs(t)) * (largest * lengths + mine + both)
    return gap, error


def _doubles(
    extreme: _Extreme,
    case: int,
    far: float,
    other: float,
    a: tuple[FloatArray, FloatArray],
    b: tuple[FloatArray, FloatArray],
) -> _Doubles:
    if not far and not other:
        return a, b
    begin, end = bool(case & 1), bool(case & 2)
    if extreme is _least:
        signs = (1.0 if begin else -1.0, 1.0 if end else -1.0)
        return (
            (a[0] + signs[0] * far, a[1] + signs[1] * far),
            (b[0] - signs[0] * other, b[1] - signs[1] * other),
        )
    pairs = [_near(x, far, y, other, up=up) for x, y, up in ((a[0], b[0], begin), (a[1], b[1], end))]
    return (pairs[0][0], pairs[1][0]), (pairs[0][1], pairs[1][1])


def _near(x: FloatArray, far: float, y: FloatArray, other: float, *, up: bool) -> tuple[FloatArray, FloatArray]:
    low, high = np.maximum(x - far, y - other), np.minimum(x + far, y + other)
    meet, under = low <= high, x < y
    point = high if up else low
    mine = np.where(meet, point, np.where(under, x + far, x - far))
    return mine, np.where(meet, point, np.where(under, y - other, y + other))

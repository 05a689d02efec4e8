"""Convex quadrilaterals on a pixel grid: pixel (r, c) covers [c, c + 1) x [r, r + 1), and its centre decides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Point: TypeAlias = tuple[float, float]
Corners: TypeAlias = tuple[Point, Point, Point, Point]
_LEAST_AREA = 1e-6
_LARGEST = 1e7


def in_order(points: Sequence[Point]) -> Corners | None:
    """Walk around four points.

    Args:
        points: (x, y) in pixels, in any order.

    Returns:
        The same, going round their quadrilateral, the first in reading order (least y, then least x) first; None
        where they are not the corners of a convex quadrilateral: one lies within the others, or its area is next to
        nothing.
    """
    if len(points) != 4 or not all(math.isfinite(v) and abs(v) <= _LARGEST for p in points for v in p):
        return None
    x, y = sum(p[0] for p in points) / 4, sum(p[1] for p in points) / 4
    around = sorted(points, key=lambda p: math.atan2(p[1] - y, p[0] - x))
    turns = [_turn(around[i - 2], around[i - 1], around[i]) for i in range(4)]
    area = sum(around[i - 1][0] * around[i][1] - around[i][0] * around[i - 1][1] for i in range(4)) / 2
    if min(turns) < 0 or area < _LEAST_AREA:
        return None
    first = min(range(4), key=lambda i: (around[i][1], around[i][0]))
    return around[first], around[first - 3], around[first - 2], around[first - 1]


def _turn(a: Point, b: Point, c: Point) -> float:
    return (b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0])


def filled(corners: Corners, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Draw a convex quadrilateral.

    Args:
        corners: as `in_order` gives them; those outside the image are clipped.
        height: of the mask.
        width: of the mask.

    Returns:
        uint8 [height, width]: 1 where the centre of the pixel is inside or on the edge, else 0.
    """
    mask = np.zeros((height, width), dtype=np.uint8)
    xs, ys = [p[0] for p in corners], [p[1] for p in corners]
    left, right = _span(min(xs), max(xs), width)
    top, bottom = _span(min(ys), max(ys), height)
    if left >= right or top >= bottom:
        return mask
    x = np.arange(left, right)[None, :] + 0.5
    y = np.arange(top, bottom)[:, None] + 0.5
    inside = np.ones((bottom - top, right - left), dtype=bool)
    for i in range(4):
        (x0, y0), (x1, y1) = corners[i - 1], corners[i]
        inside &= (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) >= 0
    mask[top:bottom, left:right] = inside
    return mask


def box(corners: Corners, height: int, width: int) -> tuple[float, float, float, float]:
    """Bound the visible part of a quadrilateral's corners: x_min, y_min, x_max, y_max, clipped to the image."""
    xs = [min(max(p[0], 0.0), float(width)) for p in corners]
    ys = [min(max(p[1], 0.0), float(height)) for p in corners]
    return min(xs), min(ys), max(xs), max(ys)


def _span(low: float, high: float, size: int) -> tuple[int, int]:
    return max(math.floor(low), 0), min(math.ceil(high) + 1, size)

"""What it costs pixels to enter a class, by their largest logits alone where these decide it (numba).

Water filling lowers the logits above a level to it, and few are above it. A pixel's largest ones are picked out once
for all classes; where they show that no other matters, and that no rounding does, they give the same sums to the bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from robspec.kernels._jit import compiled
from robspec.kernels.knapsack._classes import water_costs, water_levels
from robspec.kernels.knapsack._margins import fetch, pick

NARROW = 512
"""Pixels a thread works on at once."""
NEAREST = 8
"""Logits of a pixel that nearly always hold all that are above the level of water filling."""
MANY = 2 * NEAREST
"""Classes from which on it pays to pick these out."""
MOST = 2**12
"""Classes up to which sums of as many rounded numbers are within 2^-40 of what they are."""
_NEAR = 2.0**-20
_NORMAL = 2.0**-900
_BELOW = 1 - 2.0**-30


@compiled()
def nearest(begin: int, end: int, z: Any, widen: Any, near: Any) -> None:
    """Write the largest logits of each pixel in class order; of those that tie for the last place the first.

    Each class goes down the list of those kept, many pixels at once, and changes places with what it exceeds.

    Args:
        begin: the first task to do, `NARROW` pixels of an image, its last one fewer.
        end: the task after the last.
        z: [B, K, H, W] logits, as in `rank`.
        widen: as there.
        near: [B, H * W, M], M < K, dtype of `widen`, overwritten.
    """
    classes = z.shape[1]
    pixels, most = near.shape[1], near.shape[2]
    parts = (pixels + NARROW - 1) // NARROW
    kept = np.empty((most, NARROW), widen.dtype)
    which = np.empty((most, NARROW), np.int32)
    value = np.empty(NARROW, widen.dtype)
    index = np.empty(NARROW, np.int32)
    buffer = np.empty(NARROW, widen.dtype)
    for task in range(begin, end):
        b = task // parts
        start = (task - b * parts) * NARROW
        width = min(pixels - start, NARROW)
        for m in range(most):
            for i in range(width):
                kept[m, i] = -np.inf
                which[m, i] = 0
        for k in range(classes):
            row = fetch(z, widen, b, k, start, start + width, buffer)
            for i in range(width):
                value[i] = row[i]
                index[i] = k
            # Of the first classes only as many places are taken.
            for m in range(min(most, k + 1)):
                _hand_on(kept[m], which[m], value, index, width)
        for i in range(width):
            for m in range(most):
                # By class: an insertion into those before it.
                v, at, own = kept[m, i], m, which[m, i]
                while at > 0 and which[at - 1, i] > own:
                    which[at, i] = which[at - 1, i]
                    near[b, start + i, at] = near[b, start + i, at - 1]
                    at -= 1
                which[at, i] = own
                near[b, start + i, at] = v


@compiled()
def _hand_on(kept: Any, which: Any, value: Any, index: Any, width: int) -> None:
    """Keep the larger of two numbers and hand the other on, with its class; of equal ones keep the first class's."""
    for i in range(width):
        old, new, mine, other = kept[i], value[i], which[i], index[i]
        later = (new > old) | ((new == old) & (other < mine))
        kept[i] = new if later else old
        value[i] = old if later else new
        which[i] = other if later else mine
        index[i] = mine if later else other


@compiled()
def by_nearest(
    near: Any,
    waiting: npt.NDArray[np.int64],
    own: npt.NDArray[np.float64],
    part: npt.NDArray[np.float64],
    scratch: npt.NDArray[np.float64],
    out: npt.NDArray[np.float64],
    unsettled: npt.NDArray[np.int64],
) -> None:
    """Write what it costs some pixels to enter a class, as far as their largest logits tell.

    The level that others are lowered to is the largest value of sum / (number + 1) over any of them, and is taken
    over those above it. Where no logit is near the level that the largest ones have, and the least of these is below
    it, the others are below it too: whichever the search begins with, rounding then drops and keeps the same ones,
    and it ends with the same sum in class order. What is nearer than 2^-20 of the level is left to all classes: one
    that far below it lowers it by 2^-32 when it is taken in, and rounding is 2^-40 of it. Fewer logits
    never cost more.

    Args:
        near: [H * W, M], from `nearest`, of one image.
        waiting: [N], which pixels.
        own: [N or more], their logits of the class.
        part: [N or more], the factor of each.
        scratch: [M + 4, N or more].
        out: [N], overwritten; not above the cost, but for rounding, where other logits may count.
        unsettled: [N], overwritten with the pixel where they may, else with -1.
    """
    most, count = near.shape[1], waiting.size
    few, level = scratch[:most], scratch[most]
    total, above, number = scratch[most + 1], scratch[most + 2], scratch[most + 3]
    for n in range(count):
        pixel = near[waiting[n]]
        top = -np.inf
        for m in range(most):
            # The class itself has a gap of 0, which is above no level.
            d = np.float64(pixel[m]) - own[n]
            few[m, n] = d
            top = d if d > top else top
        # No search ends below half the largest gap.
        level[n] = top * 0.5 * _BELOW
    water_levels(few, count, level, number, total, above)
    least, distance = total, above
    for n in range(count):
        least[n] = np.inf
        distance[n] = np.inf
    for m in range(most):
        row = few[m]
        for n in range(count):
            by = abs(row[n] - level[n])
            distance[n] = by if by < distance[n] else distance[n]
            least[n] = row[n] if row[n] < least[n] else least[n]
    for n in range(count):
        t = level[n]
        settled = (t > _NORMAL) & (distance[n] > t * _NEAR) & (least[n] < t)
        unsettled[n] = -1 if settled else waiting[n]
    water_costs(few, count, level, total)
    for n in range(count):
        out[n] = total[n] * part[n]


@compiled()
def by_all(
    z: Any,
    widen: Any,
    b: int,
    k: int,
    where: npt.NDArray[np.int64],
    part: npt.NDArray[np.float64],
    out: npt.NDArray[np.float64],
) -> None:
    """Write what it costs some pixels to enter class k, by all logits.

    Args:
        z: [B, K, H, W] logits, as in `nearest`, like the next.
        widen: as there.
        b: the image.
        k: the class.
        where: [N], which pixels.
        part: [N], the factor of each.
        out: [N], overwritten.
    """
    count = where.size
    gaps = np.empty((z.shape[1] - 1, count), np.float64)
    level, number, total, above = np.zeros(count), np.empty(count), np.empty(count), np.empty(count)
    for n in range(count):
        y, x = where[n] // z.shape[3], where[n] % z.shape[3]
        own = np.float64(pick(z, widen, b, k, y, x))
        j = 0
        for other in range(z.shape[1]):
            if other != k:
                gaps[j, n] = np.float64(pick(z, widen, b, other, y, x)) - own
                j += 1
    water_levels(gaps, count, level, number, total, above)
    water_costs(gaps, count, level, total)
    for n in range(count):
        out[n] = total[n] * part[n]

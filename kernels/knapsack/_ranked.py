"""One class after another on logits that have been ranked once (numba).

Ranking reads every logit and keeps the two largest of each pixel. A single class then needs only its own plane: a
pixel is predicted as class k where its logit is the largest, leaving costs the gap to the second largest, entering at
least the gap to the largest. The exact distance to enter, by water filling over all classes, is at most twice that
for squares; it is computed only for the pixels that a budget can reach.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from robspec.kernels._jit import compiled
from robspec.kernels.knapsack._classes import SAFE, water_cost, water_levels
from robspec.kernels.knapsack._margins import BUCKETS, CHUNK, all_finite, bucket, fetch, pick, top_two

_NARROW = 512
"""Pixels a thread prices exactly at once."""
NEAREST = 8
"""Logits of a pixel that nearly always hold all that are above the level of water filling."""
MANY = 2 * NEAREST
"""Classes from which on it pays to pick these out."""
MOST = 2**12
"""Classes up to which sums of as many rounded numbers are within 2^-40 of what they are."""
_NEAR = 2.0**-20
_NORMAL = 2.0**-900


@compiled()
def rank(begin: int, end: int, z: Any, widen: Any, first: Any, second: Any, bad: npt.NDArray[np.int64]) -> None:
    """Write the two largest logits of each pixel.

    Args:
        begin: the first task to do; an image has one for each worker.
        end: the task after the last.
        z: [B, K, H, W] logits, K >= 2, as in `read`.
        widen: as there.
        first: [B, H * W], dtype of `widen`, overwritten with the largest.
        second: as `first`, overwritten with the second largest; equal where they tie.
        bad: [B, workers], overwritten: chunks with a non-finite logit.
    """
    pixels = z.shape[2] * z.shape[3]
    workers = bad.shape[1]
    chunks = (pixels + CHUNK - 1) // CHUNK
    span = (chunks + workers - 1) // workers
    for task in range(begin, end):
        b = task // workers
        worker = task - b * workers
        total = np.empty(CHUNK, widen.dtype)
        predicted = np.empty(CHUNK, np.int32)
        buffers = np.empty((4, CHUNK), widen.dtype)
        seen = 0
        for c in range(worker * span, min((worker + 1) * span, chunks)):
            start = c * CHUNK
            stop = min(pixels, start + CHUNK)
            one, two = first[b, start:stop], second[b, start:stop]
            top_two(z, widen, b, start, stop, one, two, predicted, total, buffers)
            suspicious = 0
            for i in range(stop - start):
                suspicious += 0 if abs(total[i]) < np.inf else 1
            if suspicious and not all_finite(z, widen, b, start, stop, buffers[0]):
                seen += 1
        bad[b, worker] = seen


@compiled()
def nearest(begin: int, end: int, z: Any, widen: Any, near: Any) -> None:
    """Write the largest logits of each pixel in class order; of those that tie for the last place the first.

    Args:
        begin: the first task to do, a row of an image.
        end: the task after the last.
        z: [B, K, H, W] logits, as in `rank`.
        widen: as there.
        near: [B, M, H * W], M < K, dtype of `widen`, overwritten.
    """
    classes, height, width = z.shape[1], z.shape[2], z.shape[3]
    most = near.shape[1]
    block = np.empty((classes, _NARROW), widen.dtype)
    buffer = np.empty(_NARROW, widen.dtype)
    top = np.empty(most, widen.dtype)
    for task in range(begin, end):
        b = task // height
        line = (task - b * height) * width
        for start in range(line, line + width, _NARROW):
            stop = min(start + _NARROW, line + width)
            for k in range(classes):
                row = fetch(z, widen, b, k, start, stop, buffer)
                for i in range(stop - start):
                    block[k, i] = row[i]
            for i in range(stop - start):
                kept = 0
                for k in range(classes):
                    v = block[k, i]
                    if kept == most and not v > top[most - 1]:
                        continue
                    at = kept if kept < most else most - 1
                    kept = min(kept + 1, most)
                    while at > 0 and v > top[at - 1]:
                        top[at] = top[at - 1]
                        at -= 1
                    top[at] = v
                last = top[most - 1]
                level = 0
                for m in range(most):
                    level += 1 if top[m] == last else 0
                m = 0
                for k in range(classes):
                    v = block[k, i]
                    if v > last or (v == last and level > 0):
                        level -= 0 if v > last else 1
                        near[b, m, start + i] = v
                        m += 1


@compiled(inline="always")
def _ahead(z: Any, widen: Any, b: int, k: int, pixel: int, own: Any, one: Any, two: Any, scratch: Any) -> bool:
    """Tell whether class k is predicted: the first index of the maximum."""
    if own < one:
        return False
    if one == two:
        for j in range(k):
            if fetch(z, widen, b, j, pixel, pixel + 1, scratch)[0] == one:
                return False
    return True


@compiled()
def cells(
    begin: int,
    end: int,
    z: Any,
    widen: Any,
    first: Any,
    second: Any,
    labels: npt.NDArray[np.int64],
    ignore: int,
    k: int,
    water: bool,
    share: float,
    histogram: npt.NDArray[np.int32],
    counts: npt.NDArray[np.int64],
) -> None:
    """Count the confusion cells of class k and the items in each bucket, entering priced from below.

    Args:
        begin: the first task to do; an image has one for each worker.
        end: the task after the last.
        z: [B, K, H, W] logits, K >= 2, as in `read`.
        widen: as there.
        first: [B, H * W], from `rank`.
        second: as `first`.
        labels: [B, H * W].
        ignore: the label left out, or a number no label has.
        k: the class.
        water: True where entering, and with a share other than 1 leaving too, is priced in squared distance.
        share: factor of every item.
        histogram: [B, workers, 2, BUCKETS], overwritten: leave items, enter items; these at their pair bound.
        counts: [B, workers, 4], overwritten: TP, FP, FN, TN.
    """
    classes = z.shape[1]
    pixels = z.shape[2] * z.shape[3]
    workers = counts.shape[1]
    chunks = (pixels + CHUNK - 1) // CHUNK
    span = (chunks + workers - 1) // workers
    for task in range(begin, end):
        b = task // workers
        worker = task - b * workers
        buffer = np.empty(CHUNK, widen.dtype)
        scratch = np.empty(1, widen.dtype)
        item = np.empty(CHUNK, np.float64)
        cell = np.empty(CHUNK, np.int8)
        bins = histogram[b, worker]
        for i in range(BUCKETS):
            bins[0, i] = 0
            bins[1, i] = 0
        found = np.zeros(5, np.int64)
        for c in range(worker * span, min((worker + 1) * span, chunks)):
            start = c * CHUNK
            stop = min(pixels, start + CHUNK)
            row = fetch(z, widen, b, k, start, stop, buffer)
            one, two = first[b, start:stop], second[b, start:stop]
            for i in range(stop - start):
                leaving = row[i] == one[i]
                d = np.float64(one[i]) - np.float64(two[i] if leaving else row[i])
                squared = water and (not leaving or share != 1.0)
                item[i] = d * d * 0.5 * SAFE * share if squared else d * share
                label = labels[b, start + i]
                mine = 0 if label == k else 1
                seen = (label != ignore) & (label >= 0) & (label < classes)
                # TP 0, TN 3 are items; FN 2 and FP 1 are not; 4 is not seen.
                cell[i] = (mine if leaving else 2 + mine) if seen else 4
            for i in range(stop - start):
                tied = row[i] == one[i] and one[i] == two[i] and cell[i] < 2
                if tied and not _ahead(z, widen, b, k, start + i, row[i], one[i], two[i], scratch):
                    # It has the largest logit and is not predicted: entering costs nothing, as leaving would.
                    cell[i] += 2
                at = cell[i]
                found[at] += 1
                if at == 0 or at == 3:
                    bins[at // 3, bucket(abs(item[i]))] += 1
        counts[b, worker, 0] = found[0]
        counts[b, worker, 1] = found[1]
        counts[b, worker, 2] = found[2]
        counts[b, worker, 3] = found[3]


@compiled()
def collect(
    begin: int,
    end: int,
    z: Any,
    widen: Any,
    first: Any,
    second: Any,
    labels: npt.NDArray[np.int64],
    ignore: int,
    k: int,
    water: bool,
    share: float,
    whole_when_wrong: bool,
    b: int,
    ends: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    near: Any,
    leave: npt.NDArray[np.float64],
    enter: npt.NDArray[np.float64],
) -> None:
    """Write the items of one image in the buckets before the ends, entering priced exactly.

    Args:
        begin: the first worker.
        end: the worker after the last.
        z: [B, K, H, W] logits, as in `cells`, like the other arguments it has.
        whole_when_wrong: no factor for entering where the label's logit is not the largest.
        b: the image.
        ends: [2], the first bucket left out, of leave and of enter items.
        starts: [workers, 2], where each worker's items go.
        near: [B, M, H * W], from `nearest`, or M = 0.
        leave: overwritten, in no order.
        enter: overwritten, in no order.
    """
    classes = z.shape[1]
    pixels = z.shape[2] * z.shape[3]
    workers = starts.shape[0]
    chunks = (pixels + CHUNK - 1) // CHUNK
    span = (chunks + workers - 1) // workers
    for worker in range(begin, end):
        buffer = np.empty(CHUNK, widen.dtype)
        scratch = np.empty(1, widen.dtype)
        waiting = np.empty(_NARROW, np.int64)
        part = np.empty(_NARROW, np.float64)
        level = np.empty(_NARROW, np.float64)
        number = np.empty(_NARROW, np.float64)
        gaps = np.empty((classes - 1, _NARROW), np.float64)
        few = np.empty((near.shape[1], _NARROW), np.float64)
        a, e = starts[worker]
        count = 0
        for c in range(worker * span, min((worker + 1) * span, chunks)):
            start = c * CHUNK
            stop = min(pixels, start + CHUNK)
            row = fetch(z, widen, b, k, start, stop, buffer)
            one, two = first[b, start:stop], second[b, start:stop]
            for i in range(stop - start):
                label = labels[b, start + i]
                if label == ignore or label < 0 or label >= classes:
                    continue
                leaving = row[i] == one[i]
                d = np.float64(one[i]) - np.float64(two[i] if leaving else row[i])
                squared = water and (not leaving or share != 1.0)
                item = abs(d * d * 0.5 * SAFE * share if squared else d * share)
                if leaving and one[i] == two[i]:
                    leaving = _ahead(z, widen, b, k, start + i, row[i], one[i], two[i], scratch)
                if leaving != (label == k) or bucket(item) >= ends[0 if leaving else 1]:
                    continue
                if leaving:
                    leave[a] = item
                    a += 1
                    continue
                charged = share
                if share != 1.0 and whole_when_wrong:
                    at_label = fetch(z, widen, b, label, start + i, start + i + 1, scratch)[0]
                    charged = share if at_label == one[i] else 1.0
                if not water:
                    enter[e] = d * charged
                    e += 1
                    continue
                waiting[count] = start + i
                part[count] = charged
                count += 1
                # Few at a time are so few that nothing but their number would take time: those of many chunks wait.
                if count == _NARROW:
                    prices = enter[e : e + count]
                    _settle(z, widen, near, b, k, waiting, part, count, few, gaps, level, number, prices)
                    e += count
                    count = 0
        if count:
            prices = enter[e : e + count]
            _settle(z, widen, near, b, k, waiting, part, count, few, gaps, level, number, prices)


@compiled()
def _settle(
    z: Any,
    widen: Any,
    near: Any,
    b: int,
    k: int,
    waiting: npt.NDArray[np.int64],
    part: npt.NDArray[np.float64],
    count: int,
    few: npt.NDArray[np.float64],
    gaps: npt.NDArray[np.float64],
    level: npt.NDArray[np.float64],
    number: npt.NDArray[np.float64],
    enter: npt.NDArray[np.float64],
) -> None:
    """Write what it costs some pixels to enter class k, by their largest logits alone where these decide it.

    The level that others are lowered to is the largest value of sum / (number + 1) over any of them, and is taken
    over those above it. Where no logit is near the level that the largest ones have, and the least of these is below
    it, the others are below it too: whichever the search begins with, rounding then drops and keeps the same ones,
    and it ends with the same sum in class order. What is nearer than 2^-20 of the level is left to all classes: one
    that far below it lowers it by 2^-32 when it is taken in, and rounding is 2^-40 of it.
    """
    left = 0
    if few.shape[0]:
        for m in range(few.shape[0]):
            for n in range(count):
                # Class k itself has a gap of 0, which is above no level.
                few[m, n] = np.float64(near[b, m, waiting[n]]) - np.float64(
                    pick(z, widen, b, k, waiting[n] // z.shape[3], waiting[n] % z.shape[3])
                )
        water_levels(few, count, level, number)
        for n in range(count):
            t = level[n]
            least, clear = np.inf, t > _NORMAL
            for m in range(few.shape[0]):
                d = few[m, n]
                least = d if d < least else least
                clear = clear and abs(d - t) > t * _NEAR
            if clear and least < t:
                enter[n] = water_cost(few, n, t) * part[n]
            else:
                enter[n] = -1.0
                left += 1
        if not left:
            return
    where = np.empty(count, np.int64)
    at = 0
    for n in range(count):
        if not few.shape[0] or enter[n] == -1.0:
            where[at] = n
            waiting[at], part[at] = waiting[n], part[n]
            at += 1
    prices = np.empty(at, np.float64)
    _price(z, widen, b, k, z.shape[3], waiting, part, at, gaps, level, number, prices, 0)
    for n in range(at):
        enter[where[n]] = prices[n]


@compiled()
def _price(
    z: Any,
    widen: Any,
    b: int,
    k: int,
    width: int,
    waiting: npt.NDArray[np.int64],
    part: npt.NDArray[np.float64],
    count: int,
    gaps: npt.NDArray[np.float64],
    level: npt.NDArray[np.float64],
    number: npt.NDArray[np.float64],
    enter: npt.NDArray[np.float64],
    e: int,
) -> None:
    """Write what it costs some pixels to enter class k, exactly, from place e on."""
    for n in range(count):
        y, x = waiting[n] // width, waiting[n] % width
        mine = np.float64(pick(z, widen, b, k, y, x))
        j = 0
        for other in range(z.shape[1]):
            if other != k:
                gaps[j, n] = np.float64(pick(z, widen, b, other, y, x)) - mine
                j += 1
    water_levels(gaps, count, level, number)
    for n in range(count):
        enter[e + n] = water_cost(gaps, n, level[n]) * part[n]

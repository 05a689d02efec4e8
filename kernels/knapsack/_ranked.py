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
from robspec.kernels.knapsack._classes import SAFE
from robspec.kernels.knapsack._margins import (
    BUCKET_BASE,
    BUCKET_SHIFT,
    BUCKETS,
    CHUNK,
    all_finite,
    bucket,
    fetch,
    pick,
    top_two,
)
from robspec.kernels.knapsack._nearest import NARROW, by_all, by_nearest

_SPARE = 16
"""More buckets for what is no item: an increment waits for the one before it in the same place."""


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
def meet(
    begin: int, end: int, z: Any, widen: Any, first: Any, labels: npt.NDArray[np.int64], right: npt.NDArray[np.uint8]
) -> None:
    """Tell which pixels have the largest logit at their label.

    Args:
        begin: the first task to do, a row of an image.
        end: the task after the last.
        z: [B, K, H, W] logits, as in `rank`.
        widen: as there.
        first: [B, H * W], from `rank`.
        labels: [B, H * W].
        right: [B, H * W], overwritten: 1 where it is, 0 where not or where there is no such class.
    """
    classes, height, width = z.shape[1], z.shape[2], z.shape[3]
    for task in range(begin, end):
        b = task // height
        y = task - b * height
        for x in range(width):
            i = y * width + x
            label = labels[b, i]
            right[b, i] = 0 <= label < classes and pick(z, widen, b, label, y, x) == first[b, i]


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
    right: npt.NDArray[np.uint8],
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
        right: [B, H * W], from `meet`: elsewhere entering has no factor; or [B, 0] where it always has.
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
        place = np.empty(CHUNK, np.uint16)
        bins = np.zeros(2 * BUCKETS + _SPARE, np.int32)
        tp = fp = fn = tn = 0
        for c in range(worker * span, min((worker + 1) * span, chunks)):
            start = c * CHUNK
            stop = min(pixels, start + CHUNK)
            row = fetch(z, widen, b, k, start, stop, buffer)
            one, two = first[b, start:stop], second[b, start:stop]
            price(row, one, two, right[b, start:stop], water, share, item)
            if sort(row, one, two, labels[b, start:stop], ignore, k, classes, cell):
                for i in range(stop - start):
                    tied = row[i] == one[i] and one[i] == two[i] and cell[i] < 2
                    if tied and not _ahead(z, widen, b, k, start + i, row[i], one[i], two[i], scratch):
                        # It has the largest logit and is not predicted: entering costs nothing, as leaving would.
                        cell[i] += 2
            for i in range(stop - start):
                at = (item.view(np.int64)[i] >> BUCKET_SHIFT) - BUCKET_BASE
                at = 0 if at < 0 else BUCKETS - 1 if at >= BUCKETS else at
                # An increment waits for the one before it in the same place: what is no item has several.
                spare = 2 * BUCKETS + (i & (_SPARE - 1))
                place[i] = np.uint16(at if cell[i] == 0 else at + BUCKETS if cell[i] == 3 else spare)
            for i in range(stop - start):
                bins[place[i]] += 1
            some = many = 0
            for i in range(stop - start):
                some += cell[i] == 0
                many += cell[i] == 3
            tp += some
            tn += many
            some = many = 0
            for i in range(stop - start):
                some += cell[i] == 1
                many += cell[i] == 2
            fp += some
            fn += many
        for i in range(BUCKETS):
            histogram[b, worker, 0, i] = bins[i]
            histogram[b, worker, 1, i] = bins[BUCKETS + i]
        counts[b, worker, 0] = tp
        counts[b, worker, 1] = fp
        counts[b, worker, 2] = fn
        counts[b, worker, 3] = tn


@compiled()
def price(row: Any, one: Any, two: Any, right: Any, water: bool, share: float, item: Any) -> None:
    """Price the pixels of a chunk for one class from below: to leave it where its logit is the largest, or to enter.

    Args:
        row: the class's logits.
        one: the largest logits.
        two: the second largest.
        right: as in `cells`, of these pixels or of none.
        water: as in `cells`, like `share`.
        share: factor of every item.
        item: float64 [CHUNK], overwritten.
    """
    whole = water and share != 1.0
    for i in range(row.size):
        leaving = row[i] == one[i]
        d = np.float64(one[i]) - np.float64(two[i] if leaving else row[i])
        squared = whole | (water & (not leaving))
        item[i] = abs(d * d * 0.5 * SAFE * share if squared else d * share)
    if right.size:
        for i in range(row.size):
            d = np.float64(one[i]) - np.float64(row[i])
            alone = abs(d * d * 0.5 * SAFE if water else d)
            item[i] = alone if (right[i] == 0) & (row[i] != one[i]) else item[i]


@compiled()
def sort(row: Any, one: Any, two: Any, labels: Any, ignore: int, k: int, classes: int, cell: Any) -> int:
    """Tell the cell of each pixel of a chunk, as if the class were predicted wherever its logit is the largest.

    Args:
        row: as in `price`, like the next two.
        one: the largest logits.
        two: the second largest.
        labels: of the pixels.
        ignore: as in `cells`, like the next two.
        k: the class.
        classes: how many there are.
        cell: int8, overwritten: TP 0 and TN 3, which are items; FP 1 and FN 2, which are none; 4 for one left out.

    Returns:
        How many pixels have another class with the same, largest logit.
    """
    for i in range(row.size):
        label = labels[i]
        mine = 0 if label == k else 1
        seen = (label != ignore) & (label >= 0) & (label < classes)
        cell[i] = (mine if row[i] == one[i] else 2 + mine) if seen else 4
    tied = 0
    for i in range(row.size):
        tied += (row[i] == one[i]) & (one[i] == two[i])
    return int(tied)


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
    right: npt.NDArray[np.uint8],
    k: int,
    water: bool,
    share: float,
    b: int,
    ends: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    near: Any,
    leave: npt.NDArray[np.float64],
    enter: npt.NDArray[np.float64],
    unsettled: npt.NDArray[np.int64],
) -> None:
    """Write the items of one image in the buckets before the ends, entering priced by the largest logits if at all.

    Args:
        begin: the first worker.
        end: the worker after the last.
        z: [B, K, H, W] logits, as in `cells`, like the other arguments it has.
        b: the image.
        ends: [2], the first bucket left out, of leave and of enter items.
        starts: [workers, 2], where each worker's items go.
        near: [B, H * W, M], from `nearest`, or M = 0.
        leave: overwritten, in no order.
        enter: overwritten, in no order; from below where they are not settled.
        unsettled: for each of `enter` its pixel where other logits may count, else -1; empty without `water`.
    """
    classes = z.shape[1]
    pixels = z.shape[2] * z.shape[3]
    workers = starts.shape[0]
    chunks = (pixels + CHUNK - 1) // CHUNK
    span = (chunks + workers - 1) // workers
    most = max(ends[0], ends[1])
    for worker in range(begin, end):
        buffer = np.empty(CHUNK, widen.dtype)
        scratch = np.empty(1, widen.dtype)
        item = np.empty(CHUNK, np.float64)
        near_enough = np.empty(CHUNK, np.int8)
        places = np.empty(CHUNK + 1, np.int64)
        waiting = np.empty(NARROW, np.int64)
        own = np.empty(NARROW, np.float64)
        part = np.empty(NARROW, np.float64)
        scratches = np.empty((near.shape[2] + 4, NARROW), np.float64)
        a, e = starts[worker]
        count = 0
        for c in range(worker * span, min((worker + 1) * span, chunks)):
            start = c * CHUNK
            stop = min(pixels, start + CHUNK)
            row = fetch(z, widen, b, k, start, stop, buffer)
            one, two = first[b, start:stop], second[b, start:stop]
            price(row, one, two, right[b, start:stop], water, share, item)
            for i in range(stop - start):
                # A tie may leave or enter.
                last = most if row[i] == one[i] else ends[1]
                at = (item.view(np.int64)[i] >> BUCKET_SHIFT) - BUCKET_BASE
                near_enough[i] = (0 if at < 0 else BUCKETS - 1 if at >= BUCKETS else at) < last
            found = 0
            for i in range(stop - start):
                places[found] = i
                found += near_enough[i]
            for j in range(found):
                i = places[j]
                label = labels[b, start + i]
                if label == ignore or label < 0 or label >= classes:
                    continue
                leaving = row[i] == one[i]
                if leaving and one[i] == two[i]:
                    leaving = _ahead(z, widen, b, k, start + i, row[i], one[i], two[i], scratch)
                if leaving != (label == k) or bucket(item[i]) >= ends[0 if leaving else 1]:
                    continue
                if leaving:
                    leave[a] = item[i]
                    a += 1
                    continue
                charged = share if right.shape[1] == 0 or right[b, start + i] else 1.0
                if not water:
                    enter[e] = (np.float64(one[i]) - np.float64(row[i])) * charged
                    e += 1
                    continue
                enter[e] = item[i]
                unsettled[e] = start + i
                e += 1
                if near.shape[2] == 0:
                    continue
                waiting[count] = start + i
                own[count] = row[i]
                part[count] = charged
                count += 1
                # Few at a time are so few that nothing but their number would take time: those of many chunks wait.
                if count == NARROW:
                    by_nearest(near[b], waiting, own, part, scratches, enter[e - count : e], unsettled[e - count : e])
                    count = 0
        if count:
            by_nearest(near[b], waiting[:count], own, part, scratches, enter[e - count : e], unsettled[e - count : e])


@compiled()
def settle(
    begin: int,
    end: int,
    z: Any,
    widen: Any,
    right: npt.NDArray[np.uint8],
    k: int,
    share: float,
    b: int,
    where: npt.NDArray[np.int64],
    enter: npt.NDArray[np.float64],
) -> None:
    """Write what it costs some pixels of an image to enter class k, by all classes.

    Args:
        begin: the first task to do, `NARROW` of the pixels, the last one fewer.
        end: the task after the last.
        z: as in `collect`, like all that follows up to the image.
        widen: as there.
        right: as there.
        k: as there.
        share: as there.
        b: as there.
        where: the pixels.
        enter: overwritten with the cost of each.
    """
    for task in range(begin, end):
        some = where[task * NARROW : (task + 1) * NARROW]
        part = np.empty(some.size, np.float64)
        for n in range(some.size):
            part[n] = share if right.shape[1] == 0 or right[b, some[n]] else 1.0
        by_all(z, widen, b, k, some, part, enter[task * NARROW : (task + 1) * NARROW])

"""One pass that sorts pixels into the cells of a one-class confusion matrix and prices leaving and entering (numba).

The exact l2 distance to the cell boundary is found by water filling: lower every logit of the side that is ahead to a
common level t, raise the best logit of the other side to it. The level is the fixed point of t = sum of the d_j above
t / (their number + 1), reached from t = 0 by dropping the d_j at or below t. It never falls, so the set it is taken
over only shrinks and the search ends, whatever the rounding; sums run in class order, so every backend computes the
same bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from robspec.kernels._jit import compiled
from robspec.kernels.knapsack._margins import all_finite, fetch

CHUNK = 512
SAFE = 1 - 2.0**-40
"""Water filling is computed in doubles; this factor keeps its rounding on the side of cheaper attacks."""


@compiled()
def water_levels(gaps: Any, count: int, level: Any, number: Any, total: Any, above: Any) -> None:
    """Find the common level of each column of gaps.

    Args:
        gaps: [J, width] d_j = z_j - best logit of the other side; only positive ones matter.
        count: columns in use.
        level: [width], where each search begins: 0, or what is surely below; overwritten with t.
        number: [width] scratch.
        total: [width] scratch.
        above: [width] scratch.
    """
    rows = gaps.shape[0]
    for i in range(count):
        number[i] = -1.0
    moving = True
    while moving:
        for i in range(count):
            total[i] = 0.0
            above[i] = 0.0
        for j in range(rows):
            row = gaps[j]
            for i in range(count):
                d = row[i]
                hit = d > level[i]
                total[i] += d if hit else 0.0
                above[i] += 1.0 if hit else 0.0
        changed = 0
        for i in range(count):
            changed += above[i] != number[i]
            number[i] = above[i]
            raised = total[i] / (above[i] + 1.0)
            # Where the same ones are above it as before, the level is what it was.
            level[i] = raised if raised > level[i] else level[i]
        moving = changed > 0


@compiled()
def water_costs(gaps: Any, count: int, level: Any, cost: Any) -> None:
    """Write the squared distance at the level of each column.

    Args:
        gaps: as in `water_levels`, like the next two.
        count: columns in use.
        level: [width].
        cost: [width], overwritten.
    """
    for i in range(count):
        cost[i] = level[i] * level[i]
    for j in range(gaps.shape[0]):
        row = gaps[j]
        for i in range(count):
            over = row[i] - level[i]
            cost[i] += over * over if row[i] > level[i] else 0.0
    for i in range(count):
        cost[i] = cost[i] * SAFE


@compiled()
def read_class(
    begin: int,
    end: int,
    z: npt.NDArray[Any],
    widen: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    ignore: int,
    inside: npt.NDArray[np.bool_],
    water: bool,
    share: float,
    whole_when_wrong: bool,
    out: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
) -> None:
    """Write what flipping each pixel costs: +value to leave the class set (TP), -value to enter it (TN), else NaN.

    Args:
        begin: the first task to do; an image has one for each worker.
        end: the task after the last.
        z: [B, K, H, W] logits, K >= 2, as in `read`.
        widen: as in `read`.
        labels: [B, H * W].
        ignore: the label left out, or a number no label has.
        inside: [K], which classes form the set; neither none nor all.
        water: True to price in squared l2 distance by water filling wherever the side ahead has several classes or
            the pixel enters; False to write margins.
        share: factor of every item; other than 1, leave items are squared distances too where `water`.
        whole_when_wrong: no factor for true negatives whose label's logit is not the largest.
        out: [B, H * W], overwritten; the sign bit tells the list, also of 0.
        counts: [B, workers, 5], overwritten: TP, FP, FN, TN, chunks with a non-finite logit.
    """
    classes = z.shape[1]
    pixels = z.shape[2] * z.shape[3]
    workers = counts.shape[1]
    chunks = (pixels + CHUNK - 1) // CHUNK
    span = (chunks + workers - 1) // workers
    members = 0
    for k in range(classes):
        members += inside[k]
    shared = share != 1.0
    for task in range(begin, end):
        b = task // workers
        worker = task - b * workers
        zero = widen.dtype.type(0)
        best_in = np.empty(CHUNK, widen.dtype)
        best_out = np.empty(CHUNK, widen.dtype)
        total = np.empty(CHUNK, widen.dtype)
        buffer = np.empty(CHUNK, widen.dtype)
        column = np.empty(CHUNK, np.int64)
        ahead = np.empty(CHUNK, np.bool_)
        gaps = np.empty((max(members, classes - members), CHUNK), np.float64)
        level = np.empty(CHUNK, np.float64)
        part = np.empty(CHUNK, np.float64)
        number = np.empty(CHUNK, np.float64)
        sums = np.empty(CHUNK, np.float64)
        above = np.empty(CHUNK, np.float64)
        tp = fp = fn = tn = bad = 0
        for c in range(worker * span, min((worker + 1) * span, chunks)):
            start = c * CHUNK
            stop = min(pixels, start + CHUNK)
            width = stop - start
            for i in range(width):
                best_in[i] = -np.inf
                best_out[i] = -np.inf
                total[i] = zero
            for k in range(classes):
                row = fetch(z, widen, b, k, start, stop, buffer)
                best = best_in if inside[k] else best_out
                for i in range(width):
                    v = row[i]
                    total[i] += v
                    best[i] = v if v > best[i] else best[i]
            suspicious = 0
            for i in range(width):
                suspicious += 0 if abs(total[i]) < np.inf else 1
                ahead[i] = best_in[i] > best_out[i]
            if suspicious and not all_finite(z, widen, b, start, stop, buffer):
                bad += 1
                continue
            for i in range(width):
                if best_in[i] == best_out[i]:
                    for k in range(classes):
                        if fetch(z, widen, b, k, start + i, start + i + 1, buffer)[0] == best_in[i]:
                            ahead[i] = inside[k]
                            break
            for side in range(2):
                leaving = side == 0
                count = 0
                for i in range(width):
                    label = labels[b, start + i]
                    if label == ignore or label < 0 or label >= classes:
                        if leaving:
                            out[b, start + i] = np.nan
                        continue
                    if inside[label] != ahead[i]:
                        if leaving:
                            out[b, start + i] = np.nan
                            fn += inside[label]
                            fp += ahead[i]
                        continue
                    if ahead[i] != leaving:
                        continue
                    own, other = (best_in[i], best_out[i]) if leaving else (best_out[i], best_in[i])
                    d = np.float64(own) - np.float64(other)
                    tp += leaving
                    tn += not leaving
                    charged = share
                    if shared and whole_when_wrong and not leaving:
                        at_label = fetch(z, widen, b, label, start + i, start + i + 1, buffer)[0]
                        charged = share if at_label == own else 1.0
                    part[i] = charged
                    if not water or (leaving and members == 1 and not shared):
                        out[b, start + i] = d * charged if leaving else -(d * charged)
                    elif leaving and members == 1:
                        out[b, start + i] = d * d * 0.5 * SAFE * charged
                    else:
                        column[count] = i
                        count += 1
                if count:
                    j = 0
                    for k in range(classes):
                        if inside[k] == leaving:
                            row = fetch(z, widen, b, k, start, stop, buffer)
                            for n in range(count):
                                i = column[n]
                                other = best_out[i] if leaving else best_in[i]
                                gaps[j, n] = np.float64(row[i]) - np.float64(other)
                            j += 1
                    for n in range(count):
                        level[n] = 0.0
                    water_levels(gaps[:j], count, level, number, sums, above)
                    water_costs(gaps[:j], count, level, sums)
                    for n in range(count):
                        cost = sums[n] * part[column[n]]
                        out[b, start + column[n]] = cost if leaving else -cost
        counts[b, worker, 0] = tp
        counts[b, worker, 1] = fp
        counts[b, worker, 2] = fn
        counts[b, worker, 3] = tn
        counts[b, worker, 4] = bad


@compiled()
def read_class_logit(
    begin: int,
    end: int,
    z: npt.NDArray[Any],
    widen: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    ignore: int,
    inside: npt.NDArray[np.bool_],
    squared: bool,
    share: float,
    out: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
) -> None:
    """`read_class` for a single-logit head: class 1 where z is above 0; items |z|, or z^2 times their share."""
    pixels = z.shape[2] * z.shape[3]
    workers = counts.shape[1]
    chunks = (pixels + CHUNK - 1) // CHUNK
    span = (chunks + workers - 1) // workers
    for task in range(begin, end):
        b = task // workers
        worker = task - b * workers
        buffer = np.empty(CHUNK, widen.dtype)
        cells = np.zeros(5, np.int64)
        for c in range(worker * span, min((worker + 1) * span, chunks)):
            start = c * CHUNK
            stop = min(pixels, start + CHUNK)
            row = fetch(z, widen, b, 0, start, stop, buffer)
            for i in range(stop - start):
                v = row[i]
                cells[4] += 0 if np.isfinite(v) else 1
                label = labels[b, start + i]
                out[b, start + i] = np.nan
                if label != ignore and 0 <= label < 2:
                    ahead = inside[1] if v > 0 else inside[0]
                    mine = inside[label]
                    cells[(0 if mine else 1) if ahead else (2 if mine else 3)] += 1
                    if ahead == mine:
                        d = np.float64(abs(v))
                        # Two classes: a true negative is right, so it is never charged in full.
                        item = d * d * SAFE * share if squared else d * share
                        out[b, start + i] = item if ahead else -item
        for j in range(5):
            counts[b, worker, j] = cells[j]


@compiled()
def frontier(
    leave: npt.NDArray[np.int64], enter: npt.NDArray[np.int64], limit: int, out: npt.NDArray[np.int64]
) -> int:
    """Pair every affordable number of leaves with the most enters the rest of the budget buys.

    Args:
        leave: ascending integer costs, none above `limit`.
        enter: ascending integer costs, none above `limit`.
        limit: the budget in the same units.
        out: [len(leave) + 1], overwritten: out[a] = largest b with A[a] + B[b] <= limit.

    Returns:
        How many values of a, from 0, are affordable.

    Source: MATH.md section 3.C.
    """
    b = 0
    spent_b = np.int64(0)
    while b < enter.size and spent_b + enter[b] <= limit:
        spent_b += enter[b]
        b += 1
    spent_a = np.int64(0)
    out[0] = b
    for a in range(1, leave.size + 1):
        spent_a += leave[a - 1]
        if spent_a > limit:
            return a
        while spent_a + spent_b > limit:
            b -= 1
            spent_b -= enter[b]
        out[a] = b
    return int(leave.size) + 1


@compiled()
def worst_quotient(
    leave: npt.NDArray[np.int64],
    enter: npt.NDArray[np.int64],
    limit: int,
    counts: npt.NDArray[np.int64],
    above: npt.NDArray[np.int64],
    below: npt.NDArray[np.int64],
) -> tuple[int, int, bool]:
    """Find the least quotient of two sums of counts over every affordable pair of flips, exactly.

    Args:
        leave: ascending integer costs, none above `limit`.
        enter: ascending integer costs, none above `limit`.
        limit: the budget in the same units.
        counts: [4], clean TP, FP, FN, TN.
        above: [4], coefficients of the numerator.
        below: [4], coefficients of the denominator. The largest numerator times the largest denominator, over all
            counts of the image, must be below 2^62.

    Returns:
        Numerator and positive denominator of the least quotient, (0, 0) where every denominator is 0; whether any
        denominator is 0.

    Source: MATH.md section 3.C.
    """
    n0 = d0 = 0
    for j in range(4):
        n0 += above[j] * counts[j]
        d0 += below[j] * counts[j]
    leave_n, leave_d = above[2] - above[0], below[2] - below[0]
    enter_n, enter_d = above[1] - above[3], below[1] - below[3]
    b = 0
    spent_b = np.int64(0)
    while b < enter.size and spent_b + enter[b] <= limit:
        spent_b += enter[b]
        b += 1
    spent_a = np.int64(0)
    best_n = best_d = 0
    vanishes = False
    for a in range(leave.size + 1):
        if a > 0:
            spent_a += leave[a - 1]
            if spent_a > limit:
                break
            while spent_a + spent_b > limit:
                b -= 1
                spent_b -= enter[b]
        n = n0 + a * leave_n + b * enter_n
        d = d0 + a * leave_d + b * enter_d
        if d == 0:
            vanishes = True
            continue
        if d < 0:
            n, d = -n, -d
        if best_d == 0 or n * best_d < best_n * d:
            best_n, best_d = n, d
    return best_n, best_d, vanishes

"""Two classes in one pass that keeps nothing of a pixel: sums below a window of margins, and the margins inside."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from robspec.kernels._jit import compiled
from robspec.kernels.knapsack._classes import SAFE
from robspec.kernels.knapsack._margins import all_finite, fetch
from robspec.kernels.knapsack._pair import BEYOND

CHUNK = 1024
"""Pixels a thread works on at once: logits, labels and margins of two lists fit the first-level cache."""
EVERY = -1
"""In place of a class: one list of the pixels predicted as labelled."""
ANY = -2
"""In place of a class: one list of all pixels."""
LEAVE, ENTER = 0, -(2**63)
"""What tells the two lists of a class, and leaves the bit pattern of a margin."""
SIZE = 2**63 - 1
"""Takes the sign off a bit pattern."""
_LOOK = 64
"""Margins that are looked at together for one inside a window."""


@compiled(inline="always")
def entering(d: float) -> float:
    """Squared distance by water filling of a margin of two classes: half of it is taken from either logit."""
    level = d * 0.5
    over = d - level
    return float((level * level + (over * over if d > level else 0.0)) * SAFE)


@compiled()
def list_all(one: Any, other: Any, labels: Any, ignore: int, every: bool, margins: Any) -> None:
    """Write the margins of a chunk's items, NaN where a pixel is none.

    Args:
        one: logits of class 0.
        other: of class 1.
        labels: of the chunk's pixels, or none.
        ignore: the label left out.
        every: True where every pixel not ignored is an item.
        margins: overwritten.
    """
    if labels.size == 0:
        for i in range(margins.size):
            margins[i] = abs(np.float64(one[i]) - np.float64(other[i]))
        return
    for i in range(margins.size):
        d = abs(np.float64(one[i]) - np.float64(other[i]))
        label = labels[i]
        item = (label != ignore) & (every | (label == np.int64(other[i] > one[i])))
        margins[i] = d if item else np.nan


@compiled()
def list_class(one: Any, other: Any, labels: Any, ignore: int, k: int, margins: Any) -> None:
    """Write the margins of a chunk's true positives, and of its true negatives with a minus; others as `list_all`."""
    for i in range(margins.size):
        d = abs(np.float64(one[i]) - np.float64(other[i]))
        label = labels[i]
        right = (label != ignore) & (label == np.int64(other[i] > one[i]))
        d = d if label == k else -d
        margins[i] = d if right else np.nan


@compiled()
def unsure(one: Any, other: Any) -> int:
    """Count the pixels whose sum of logits is not finite."""
    found = np.int64(0)
    for i in range(one.size):
        found += np.int64(0 if abs(one[i] + other[i]) < np.inf else 1)
    return int(found)


@compiled()
def others(labels: Any, ignore: int) -> int:
    """Count the labels other than the one left out."""
    found = np.int64(0)
    for i in range(labels.size):
        found += np.int64(labels[i] != ignore)
    return int(found)


@compiled()
def fewer(bits: Any, sign: int, low: int) -> int:
    """Count the margins with a sign that are strictly below one; bit patterns, as in `spent`."""
    found = np.int64(0)
    for i in range(bits.size):
        found += np.int64(np.uint64(bits[i] ^ sign) < np.uint64(low))
    return int(found)


@compiled()
def spent(margins: Any, bits: Any, sign: int, low: int, squared: bool, exponent: int, scale: float) -> int:
    """Add up the costs of the items with a sign whose margin is strictly below one, as `budget.costs` rounds them.

    Args:
        margins: NaN where a pixel is no item.
        bits: their bit patterns.
        sign: `LEAVE` or `ENTER`.
        low: the bit pattern of a margin that costs no more than the whole budget: so do all below it.
        squared: whether they are priced by water filling.
        exponent: of the budget, 1 or 2.
        scale: grid units per unit of d^q.
    """
    end = np.uint64(low)
    found = np.int64(0)
    if squared:
        for i in range(margins.size):
            d = abs(margins[i]) if np.uint64(bits[i] ^ sign) < end else 0.0
            found += np.int64(entering(d) * scale)
    elif exponent == 2:
        for i in range(margins.size):
            d = margins[i] if np.uint64(bits[i] ^ sign) < end else 0.0
            found += np.int64(d * d * scale)
    else:
        for i in range(margins.size):
            d = abs(margins[i]) if np.uint64(bits[i] ^ sign) < end else 0.0
            found += np.int64(d * scale)
    return int(found)


@compiled()
def between(margins: Any, bits: Any, low: int, high: int, out: Any) -> int:
    """Copy, with their signs and without a branch, the margins from one to strictly below another.

    Args:
        margins: NaN where a pixel is no item.
        bits: their bit patterns.
        low: bit pattern of a margin.
        high: as `low`, no less.
        out: overwritten; it has room for one more.

    Returns:
        How many there are.
    """
    size, width = 0, np.uint64(high - low)
    for i in range(margins.size):
        out[size] = margins[i]
        size += int(np.uint64((bits[i] & SIZE) - low) < width)
    return size


@compiled()
def windows(
    begin: int,
    end: int,
    z: Any,
    widen: Any,
    labels: npt.NDArray[np.int64],
    ignore: int,
    b: int,
    k: int,
    low: npt.NDArray[np.int64],
    high: npt.NDArray[np.int64],
    squared: bool,
    exponents: npt.NDArray[np.int64],
    scales: npt.NDArray[np.float64],
    room: npt.NDArray[np.float64],
    sums: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
) -> None:
    """Add up what lies below the windows of one image's lists, and copy what lies inside them.

    Args:
        begin: the first worker.
        end: the worker after the last.
        z: [B, K, H, W] logits, K 1 or 2, as in `_margins.read`.
        widen: as there.
        labels: [B, H * W], or [B, 0] for none.
        ignore: the label left out, or a number no label has.
        b: the image.
        k: a class, whose true positives and true negatives are two lists; or `EVERY` or `ANY`, for one.
        low: [lists], bit patterns of what costs no more than the whole budget; margins strictly below are added up.
        high: [lists], bit patterns; margins from the least of `low` to strictly below the largest of it are copied.
        squared: whether those of the second list are priced by water filling.
        exponents: [lists], of the budget, 1 or 2.
        scales: [lists], grid units per unit of d^q.
        room: [workers, N], overwritten with the copies, in no order, those of the second list with a minus; N is as
            many pixels as a worker has, in whole chunks.
        sums: [workers, lists, 2], overwritten: items below the window, their cost.
        counts: [workers, 4], overwritten: copies; items, and labels other than `ignore`, where there is one list;
            chunks with a non-finite logit.
    """
    pixels = z.shape[2] * z.shape[3]
    single = z.shape[1] == 1
    workers = sums.shape[0]
    lists = sums.shape[1]
    chunks = (pixels + CHUNK - 1) // CHUNK
    span = (chunks + workers - 1) // workers
    least, most = low.min(), high.max()
    for worker in range(begin, end):
        first = np.empty(CHUNK, widen.dtype)
        second = np.empty(CHUNK, widen.dtype)
        zeros = np.zeros(CHUNK, widen.dtype)
        kept = np.empty(CHUNK, np.float64)
        local = np.empty(CHUNK + 1, np.float64)
        items = seen = bad = at = 0
        sums[worker] = 0
        for c in range(worker * span, min((worker + 1) * span, chunks)):
            start = c * CHUNK
            stop = min(pixels, start + CHUNK)
            width = stop - start
            one = zeros[:width] if single else fetch(z, widen, b, 0, start, stop, first)
            other = fetch(z, widen, b, 0 if single else 1, start, stop, second)
            some = labels[b, start:stop] if labels.shape[1] else labels[b]
            if unsure(one, other) and not all_finite(z, widen, b, start, stop, first):
                bad += 1
            margins = kept[:width]
            bits = margins.view(np.int64)
            if lists == 1:
                list_all(one, other, some, ignore, k == ANY, margins)
                seen += others(some, ignore) if labels.shape[1] else width
                items += fewer(bits, LEAVE, BEYOND)
            else:
                list_class(one, other, some, ignore, k, margins)
            for j in range(lists):
                sign = ENTER if j else LEAVE
                sums[worker, j, 0] += fewer(bits, sign, low[j])
                priced = squared and j == 1
                sums[worker, j, 1] += spent(margins, bits, sign, low[j], priced, exponents[j], scales[j])
            inside = between(margins, bits, least, most, local)
            for i in range(inside):
                room[worker, at + i] = local[i]
            at += inside
        counts[worker, 0] = at
        counts[worker, 1] = items
        counts[worker, 2] = seen
        counts[worker, 3] = bad


@compiled()
def confusion(
    begin: int,
    end: int,
    z: Any,
    widen: Any,
    labels: npt.NDArray[np.int64],
    ignore: int,
    k: int,
    counts: npt.NDArray[np.int64],
) -> None:
    """Count the confusion cells of one of two classes.

    Args:
        begin: the first task to do; an image has one for each worker.
        end: the task after the last.
        z: [B, K, H, W] logits, K 1 or 2, as in `windows`, like the next two.
        widen: as there.
        labels: [B, H * W].
        ignore: the label left out, or a number no label has.
        k: the class, 0 or 1.
        counts: [B, workers, 5], overwritten: TP, FP, FN, TN, chunks with a non-finite logit.
    """
    pixels = z.shape[2] * z.shape[3]
    single = z.shape[1] == 1
    workers = counts.shape[1]
    chunks = (pixels + CHUNK - 1) // CHUNK
    span = (chunks + workers - 1) // workers
    for task in range(begin, end):
        b = task // workers
        worker = task - b * workers
        first = np.empty(CHUNK, widen.dtype)
        second = np.empty(CHUNK, widen.dtype)
        zeros = np.zeros(CHUNK, widen.dtype)
        cells = np.zeros(5, np.int64)
        for c in range(worker * span, min((worker + 1) * span, chunks)):
            start = c * CHUNK
            stop = min(pixels, start + CHUNK)
            one = zeros[: stop - start] if single else fetch(z, widen, b, 0, start, stop, first)
            other = fetch(z, widen, b, 0 if single else 1, start, stop, second)
            some = labels[b, start:stop]
            if unsure(one, other) and not all_finite(z, widen, b, start, stop, first):
                cells[4] += 1
            inside, ahead, both, seen = sides(one, other, some, ignore, k)
            cells[0] += both
            cells[1] += ahead - both
            cells[2] += inside - both
            cells[3] += seen - ahead - inside + both
        for j in range(5):
            counts[b, worker, j] = cells[j]


@compiled()
def sides(one: Any, other: Any, labels: Any, ignore: int, k: int) -> tuple[int, int, int, int]:
    """Count, of a chunk's pixels with a label of the two: labelled k, predicted as k, both, all of them."""
    inside = ahead = both = seen = np.int64(0)
    for i in range(labels.size):
        label = labels[i]
        counted = (label != ignore) & (label >= 0) & (label < 2)
        predicted = np.int64(other[i] > one[i])
        inside += np.int64(counted & (label == k))
        ahead += np.int64(counted & (predicted == k))
        both += np.int64(counted & (label == k) & (predicted == k))
        seen += np.int64(counted)
    return int(inside), int(ahead), int(both), int(seen)


@compiled()
def balance(
    leave: npt.NDArray[np.float64],
    enter: npt.NDArray[np.float64],
    spent_leave: npt.NDArray[np.float64],
    spent_enter: npt.NDArray[np.float64],
    ratio: float,
    limit: float,
) -> float:
    """Find the cost up to which leave items are bought, and enter items up to `ratio` times it, for a budget.

    Args:
        leave: ascending costs.
        enter: ascending costs.
        spent_leave: [len(leave) + 1], what so many of them cost.
        spent_enter: as `spent_leave`.
        ratio: not negative; infinity to buy enter items alone.
        limit: the budget.

    Returns:
        That cost, of enter items where `ratio` is infinite; infinity where all are bought. No answer is exact.
    """
    alone = ratio == np.inf
    low, high = 0.0, 0.0
    if leave.size and not alone:
        high = max(high, leave[-1])
    if enter.size and ratio > 0:
        high = max(high, enter[-1] if alone else enter[-1] / ratio)
    if high == 0.0 or bought(leave, enter, spent_leave, spent_enter, ratio, high) <= limit:
        return np.inf
    for _ in range(60):
        middle = 0.5 * (low + high)
        if bought(leave, enter, spent_leave, spent_enter, ratio, middle) <= limit:
            low = middle
        else:
            high = middle
    return low


@compiled()
def bought(
    leave: npt.NDArray[np.float64],
    enter: npt.NDArray[np.float64],
    spent_leave: npt.NDArray[np.float64],
    spent_enter: npt.NDArray[np.float64],
    ratio: float,
    up_to: float,
) -> float:
    """Say what the items up to a cost come to; arguments as in `balance`."""
    if ratio == np.inf:
        return float(spent_enter[np.searchsorted(enter, up_to, side="right")])
    mine = spent_leave[np.searchsorted(leave, up_to, side="right")]
    return float(mine + spent_enter[np.searchsorted(enter, up_to * ratio, side="right") if ratio > 0 else 0])

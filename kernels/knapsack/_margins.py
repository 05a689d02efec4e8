"""The one pass over the logits, compiled by numba: margins, their histogram, clean counts and finiteness.

The pass is bound by memory: classes are the outer loop over a chunk of pixels whose running maxima stay in the
first-level cache, so each logit is read once and the inner loops are straight-line vector code. Only the two largest
logits of a pixel are kept: a pixel predicted as labelled has the largest at its label, and its margin is their
difference. Maxima and comparisons stay in the stored dtype, where they are exact; only the subtraction is in double.

Each worker adds every logit of a pixel up and looks at the sums: they are finite unless a logit is not, or unless
huge logits overflow the sum, which a second look at the chunk tells apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types
from numba.extending import overload

from robspec.kernels._jit import compiled

CHUNK = 2048
"""Pixels a thread works on at once."""
BUCKETS = 2048
"""Buckets of the margins' histogram: 32 for each power of two from 2^-40 to 2^24, open at both ends."""
_SPARE = 16
"""More buckets for what is no item: an increment waits for the one before it in the same place."""
BUCKET_SHIFT = 47
BUCKET_BASE = (1023 - 40) << 5

BoolArray = npt.NDArray[np.bool_]


def fetch(z: Any, widen: Any, b: int, k: int, start: int, stop: int, buffer: Any) -> Any:
    """Give one class's logits of a run of pixels as a contiguous row; compiled per layout below, else as here."""
    row = z[b, k].reshape(-1)[start:stop]
    return widen[row] if z.dtype == np.uint16 else row.copy()


@overload(fetch)
def _fetch_by_layout(z: Any, widen: Any, b: int, k: int, start: int, stop: int, buffer: Any) -> Any:
    """Choose how rows are read: a view where memory allows, else a copy into the chunk's buffer."""
    if z.dtype == types.uint16:

        def widened(z: Any, widen: Any, b: int, k: int, start: int, stop: int, buffer: Any) -> Any:
            width = z.shape[3]
            y, x = start // width, start % width
            for i in range(stop - start):
                buffer[i] = widen[z[b, k, y, x]]
                x += 1
                if x == width:
                    x = 0
                    y += 1
            return buffer[: stop - start]

        return widened
    if z.layout == "C":

        def view(z: Any, widen: Any, b: int, k: int, start: int, stop: int, buffer: Any) -> Any:
            return z[b, k].reshape(z.shape[2] * z.shape[3])[start:stop]

        return view

    def gathered(z: Any, widen: Any, b: int, k: int, start: int, stop: int, buffer: Any) -> Any:
        width = z.shape[3]
        y, x = start // width, start % width
        for i in range(stop - start):
            buffer[i] = z[b, k, y, x]
            x += 1
            if x == width:
                x = 0
                y += 1
        return buffer[: stop - start]

    return gathered


def pick(z: Any, widen: Any, b: int, k: int, y: int, x: int) -> Any:
    """Give one logit; compiled by type below, else as here."""
    return widen[z[b, k, y, x]] if z.dtype == np.uint16 else z[b, k, y, x]


@overload(pick, inline="always")
def _pick_by_type(z: Any, widen: Any, b: int, k: int, y: int, x: int) -> Any:
    """Choose how a logit is read."""
    if z.dtype == types.uint16:

        def widened(z: Any, widen: Any, b: int, k: int, y: int, x: int) -> Any:
            return widen[z[b, k, y, x]]

        return widened

    def plain(z: Any, widen: Any, b: int, k: int, y: int, x: int) -> Any:
        return z[b, k, y, x]

    return plain


@compiled(inline="always")
def bucket(d: float) -> int:
    """Histogram bucket of a non-negative margin: order-preserving in its bits."""
    at = (np.float64(d).view(np.int64) >> BUCKET_SHIFT) - BUCKET_BASE
    return int(0 if at < 0 else BUCKETS - 1 if at >= BUCKETS else at)


@compiled()
def all_finite(z: Any, widen: Any, b: int, start: int, stop: int, buffer: Any) -> bool:
    """Look at every logit of a chunk."""
    for k in range(z.shape[1]):
        row = fetch(z, widen, b, k, start, stop, buffer)
        for i in range(stop - start):
            if not np.isfinite(row[i]):
                return False
    return True


@compiled()
def top_two(
    z: Any,
    widen: Any,
    b: int,
    start: int,
    stop: int,
    first: Any,
    second: Any,
    predicted: Any,
    total: Any,
    buffers: Any,
) -> None:
    """Find the two largest logits of each pixel of a chunk, equal where they tie, and the first class of the largest.

    Four classes at a time are ordered among themselves before they meet the pair kept: shorter dependencies than one
    class after another.

    Args:
        z: [B, K, H, W] logits, as in `read`.
        widen: as there.
        b: the image.
        start: first pixel of the chunk.
        stop: pixel after its last.
        first: overwritten with the largest logits.
        second: overwritten with the second largest.
        predicted: int32, overwritten with the first index of the largest.
        total: overwritten with the sum over classes, finite unless a logit is not or the sum overflows.
        buffers: [4, CHUNK] scratch.
    """
    classes = z.shape[1]
    width = stop - start
    k = 0
    for i in range(width):
        first[i] = -np.inf
        second[i] = -np.inf
        predicted[i] = 0
        total[i] = 0
    while k + 4 <= classes:
        r0 = fetch(z, widen, b, k, start, stop, buffers[0])
        r1 = fetch(z, widen, b, k + 1, start, stop, buffers[1])
        r2 = fetch(z, widen, b, k + 2, start, stop, buffers[2])
        r3 = fetch(z, widen, b, k + 3, start, stop, buffers[3])
        k0, k1, k2, k3 = np.int32(k), np.int32(k + 1), np.int32(k + 2), np.int32(k + 3)
        for i in range(width):
            v0, v1, v2, v3 = r0[i], r1[i], r2[i], r3[i]
            total[i] += (v0 + v1) + (v2 + v3)
            later = v1 > v0
            high01, low01, at01 = (v1 if later else v0), (v0 if later else v1), (k1 if later else k0)
            later = v3 > v2
            high23, low23, at23 = (v3 if later else v2), (v2 if later else v3), (k3 if later else k2)
            later = high23 > high01
            high, middle, at = (
                (high23 if later else high01),
                (high01 if later else high23),
                (at23 if later else at01),
            )
            low = low01 if low01 > low23 else low23
            runner_up = middle if middle > low else low
            one, two = first[i], second[i]
            later = high > one
            middle = one if later else high
            low = two if two > runner_up else runner_up
            first[i] = high if later else one
            second[i] = middle if middle > low else low
            predicted[i] = at if later else predicted[i]
        k += 4
    while k < classes:
        row = fetch(z, widen, b, k, start, stop, buffers[0])
        this = np.int32(k)
        for i in range(width):
            v = row[i]
            total[i] += v
            one = first[i]
            later = v > one
            low = one if later else v
            first[i] = v if later else one
            second[i] = low if low > second[i] else second[i]
            predicted[i] = this if later else predicted[i]
        k += 1


@compiled()
def only(row: Any, first: Any, second: Any, predicted: Any, total: Any) -> None:
    """Lay out a single logit as two classes whose difference is its size; the last four are overwritten."""
    for i in range(row.size):
        first[i] = abs(row[i])
        second[i] = 0
        predicted[i] = row[i] > 0
        total[i] = row[i]


@compiled()
def gaps(first: Any, second: Any, margins: Any) -> int:
    """Write the margins of a chunk without labels, every pixel of which is an item.

    Args:
        first: the largest logits.
        second: the second largest.
        margins: overwritten with their differences.

    Returns:
        How many items there are.
    """
    for i in range(margins.size):
        # The absolute value only takes the sign off zeros.
        margins[i] = abs(np.float64(first[i]) - np.float64(second[i]))
    return int(margins.size)


@compiled()
def correct(
    first: Any, second: Any, predicted: Any, labels: Any, ignore: int, every: bool, margins: Any
) -> tuple[int, int]:
    """Write the margins of a chunk's items.

    One loop for each question: together they are no vector code.

    Args:
        first: the largest logits.
        second: the second largest.
        predicted: classes of the largest.
        labels: of the chunk's pixels.
        ignore: the label left out.
        every: as in `read`.
        margins: overwritten, NaN where a pixel is no item.

    Returns:
        How many items there are, and how many labels other than `ignore`.
    """
    for i in range(margins.size):
        d = abs(np.float64(first[i]) - np.float64(second[i]))
        label = labels[i]
        item = (label != ignore) & (every | (label == np.int64(predicted[i])))
        margins[i] = d if item else np.nan
    kept = np.int64(0)
    for i in range(margins.size):
        kept += np.int64(labels[i] != ignore)
    items = np.int64(0)
    for i in range(margins.size):
        items += np.int64(margins[i] >= 0)
    return int(items), int(kept)


@compiled()
def pair(
    one: Any, other: Any, labels: Any, labelled: bool, ignore: int, every: bool, margins: Any
) -> tuple[int, int, int]:
    """Write the margins of a chunk's items where there are two classes: nothing is kept of a pixel meanwhile.

    Args:
        one: logits of class 0.
        other: of class 1.
        labels: of the chunk's pixels, or of none.
        labelled: whether there are labels; without them every pixel is an item.
        ignore: the label left out.
        every: as in `read`.
        margins: overwritten, NaN where a pixel is no item.

    Returns:
        How many items there are; how many labels other than `ignore`; how many sums are not finite.
    """
    suspicious = np.int64(0)
    for i in range(margins.size):
        suspicious += np.int64(0 if abs(one[i] + other[i]) < np.inf else 1)
    if not labelled:
        return gaps(one, other, margins), int(margins.size), int(suspicious)
    for i in range(margins.size):
        d = abs(np.float64(one[i]) - np.float64(other[i]))
        label = labels[i]
        item = (label != ignore) & (every | (label == np.int64(other[i] > one[i])))
        margins[i] = d if item else np.nan
    kept = np.int64(0)
    for i in range(margins.size):
        kept += np.int64(labels[i] != ignore)
    items = np.int64(0)
    for i in range(margins.size):
        items += np.int64(margins[i] >= 0)
    return int(items), int(kept), int(suspicious)


@compiled()
def tally(margins: Any, place: Any, bins: Any) -> None:
    """Add a chunk's items to the histogram.

    Where each goes is vector code, the increments are not. Whether a pixel is an item is hard to predict: there is no
    branch, and what is none goes to one of some spare buckets, since an increment waits for the one before it there.

    Args:
        margins: NaN where a pixel is no item.
        place: uint16 [CHUNK] scratch.
        bins: [BUCKETS + _SPARE], added to.
    """
    bits = margins.view(np.int64)
    for i in range(margins.size):
        at = (bits[i] >> BUCKET_SHIFT) - BUCKET_BASE
        at = 0 if at < 0 else BUCKETS - 1 if at >= BUCKETS else at
        place[i] = np.uint16(at if margins[i] >= 0 else BUCKETS + (i & (_SPARE - 1)))
    for i in range(margins.size):
        bins[place[i]] += 1


@compiled()
def read(
    begin: int,
    end: int,
    z: npt.NDArray[Any],
    widen: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    ignore: int,
    every: bool,
    out: npt.NDArray[np.float64],
    histogram: npt.NDArray[np.int32],
    counts: npt.NDArray[np.int64],
) -> None:
    """Write each item's margin, NaN where a pixel is no item.

    It is d = largest - second largest logit, and d = |z| of a single-logit head (class 1 where z is above 0).

    Args:
        begin: the first task to do; an image has one for each worker.
        end: the task after the last.
        z: [B, K, H, W] logits: float32, float64, or uint16 bit patterns of a half precision.
        widen: the value of each uint16 pattern, float32 [65536]; for other dtypes an array of theirs of length 1.
        labels: [B, H * W], or [B, 0] for none.
        ignore: the label left out, or a number no label has.
        every: True when every pixel not ignored is an item, False when only those predicted as labelled are.
        out: [B, H * W], overwritten.
        histogram: [B, workers, BUCKETS], overwritten: items per bucket of margins; or [B, workers, 0] for none.
        counts: [B, workers, 3], overwritten: items; labels other than `ignore`; non-finite chunks.
    """
    classes = z.shape[1]
    pixels = z.shape[2] * z.shape[3]
    workers = histogram.shape[1]
    labelled = labels.shape[1] > 0
    tallied = histogram.shape[2] > 0
    chunks = (pixels + CHUNK - 1) // CHUNK
    share = (chunks + workers - 1) // workers
    for task in range(begin, end):
        b = task // workers
        worker = task - b * workers
        first = np.empty(CHUNK, widen.dtype)
        second = np.empty(CHUNK, widen.dtype)
        total = np.empty(CHUNK, widen.dtype)
        predicted = np.empty(CHUNK, np.int32)
        buffers = np.empty((4, CHUNK), widen.dtype)
        place = np.empty(CHUNK, np.uint16)
        bins = np.zeros(BUCKETS + _SPARE, np.int32)
        items = 0
        counted = 0
        bad = 0
        for c in range(worker * share, min((worker + 1) * share, chunks)):
            start = c * CHUNK
            stop = min(pixels, start + CHUNK)
            width = stop - start
            margins = out[b, start:stop]
            if classes == 2:
                one = fetch(z, widen, b, 0, start, stop, buffers[0])
                other = fetch(z, widen, b, 1, start, stop, buffers[1])
                chunk = labels[b, start:stop] if labelled else labels[b]
                some, kept, suspicious = pair(one, other, chunk, labelled, ignore, every, margins)
                if suspicious and not all_finite(z, widen, b, start, stop, buffers[0]):
                    bad += 1
                items += some
                counted += kept
                if tallied:
                    tally(margins, place, bins)
                continue
            if classes == 1:
                only(fetch(z, widen, b, 0, start, stop, buffers[0]), first, second, predicted, total)
            else:
                top_two(z, widen, b, start, stop, first, second, predicted, total, buffers)
            suspicious = 0
            for i in range(width):
                suspicious += 0 if abs(total[i]) < np.inf else 1
            if suspicious and not all_finite(z, widen, b, start, stop, buffers[0]):
                bad += 1
            if labelled:
                some, kept = correct(first, second, predicted, labels[b, start:stop], ignore, every, margins)
            else:
                some, kept = gaps(first, second, margins), width
            items += some
            counted += kept
            if tallied:
                tally(margins, place, bins)
        for i in range(histogram.shape[2]):
            histogram[b, worker, i] = bins[i]
        counts[b, worker, 0] = items
        counts[b, worker, 1] = counted
        counts[b, worker, 2] = bad


@compiled()
def count(
    begin: int, end: int, margins: npt.NDArray[np.float64], span: int, histogram: npt.NDArray[np.int32]
) -> None:
    """Count the items in each bucket, of margins that are there.

    Args:
        begin: the first task to do; an image has one for each worker.
        end: the task after the last.
        margins: [B, H * W], not negative, NaN where a pixel is no item.
        span: pixels of each worker, the last one's fewer or none.
        histogram: [B, workers, BUCKETS], overwritten.
    """
    pixels, workers = margins.shape[1], histogram.shape[1]
    for task in range(begin, end):
        b = task // workers
        worker = task - b * workers
        place = np.empty(CHUNK, np.uint16)
        bins = np.zeros(BUCKETS + _SPARE, np.int32)
        stop = min((worker + 1) * span, pixels)
        for start in range(worker * span, stop, CHUNK):
            tally(margins[b, start : min(start + CHUNK, stop)], place, bins)
        for i in range(BUCKETS):
            histogram[b, worker, i] = bins[i]

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
from numba import njit, prange, types
from numba.extending import overload

CHUNK = 2048
"""Pixels a thread works on at once."""
BUCKETS = 2048
"""Buckets of the margins' histogram: 32 for each power of two from 2^-40 to 2^24, open at both ends."""
BUCKET_SHIFT = 47
BUCKET_BASE = (1023 - 40) << 5

BoolArray = npt.NDArray[np.bool_]


def _fetch(z: Any, widen: Any, b: int, k: int, start: int, stop: int, buffer: Any) -> Any:
    """Give one class's logits of a run of pixels as a contiguous row; implemented per layout below."""
    raise TypeError("only called from compiled code")


@overload(_fetch)
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


@njit(cache=True, error_model="numpy", inline="always")
def _bucket(d: float) -> int:
    """Histogram bucket of a non-negative margin: order-preserving in its bits."""
    at = (np.float64(d).view(np.int64) >> BUCKET_SHIFT) - BUCKET_BASE
    return int(0 if at < 0 else BUCKETS - 1 if at >= BUCKETS else at)


@njit(cache=True, error_model="numpy")
def _all_finite(z: Any, widen: Any, b: int, start: int, stop: int, buffer: Any) -> bool:
    """Look at every logit of a chunk."""
    for k in range(z.shape[1]):
        row = _fetch(z, widen, b, k, start, stop, buffer)
        for i in range(stop - start):
            if not np.isfinite(row[i]):
                return False
    return True


@njit(cache=True, error_model="numpy")
def _drop_later_ties(
    z: Any, widen: Any, b: int, start: int, own_class: Any, first: Any, second: Any, width: int
) -> None:
    """Take the label off tied pixels whose prediction, the first index of the maximum, is an earlier class."""
    one = np.empty(1, widen.dtype)
    for i in range(width):
        if first[i] == second[i]:
            for j in range(own_class[i]):
                if _fetch(z, widen, b, j, start + i, start + i + 1, one)[0] == first[i]:
                    own_class[i] = -1
                    break


@njit(parallel=True, cache=True, error_model="numpy")
def read_classes(
    z: npt.NDArray[Any],
    widen: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    ignore: int,
    every: bool,
    out: npt.NDArray[np.float64],
    histogram: npt.NDArray[np.int32],
    counts: npt.NDArray[np.int64],
) -> None:
    """Write each item's margin d = largest - second largest logit, NaN where a pixel is no item.

    Args:
        z: [B, K, H, W] logits, K >= 2: float32, float64, or uint16 bit patterns of a half precision.
        widen: the value of each uint16 pattern, float32 [65536]; for other dtypes an array of theirs of length 1.
        labels: [B, H * W]; not read when `every`.
        ignore: the label left out, or a number no label has.
        every: True when every pixel is an item, False when only those predicted as labelled are.
        out: [B, H * W], overwritten.
        histogram: [B, workers, BUCKETS], overwritten: items per bucket of margins.
        counts: [B, workers, 3], overwritten: items; labels other than `ignore`; non-finite chunks.
    """
    images, classes = z.shape[:2]
    pixels = z.shape[2] * z.shape[3]
    workers = histogram.shape[1]
    chunks = (pixels + CHUNK - 1) // CHUNK
    share = (chunks + workers - 1) // workers
    for task in prange(images * workers):
        b = task // workers
        worker = task - b * workers
        zero = widen.dtype.type(0)
        first = np.empty(CHUNK, widen.dtype)
        second = np.empty(CHUNK, widen.dtype)
        total = np.empty(CHUNK, widen.dtype)
        own = np.empty(CHUNK, widen.dtype)
        own_class = np.empty(CHUNK, np.int32)
        buffers = np.empty((4, CHUNK), widen.dtype)
        bins = histogram[b, worker]
        bins[:] = 0
        items = 0
        counted = 0
        bad = 0
        for c in range(worker * share, min((worker + 1) * share, chunks)):
            start = c * CHUNK
            stop = min(pixels, start + CHUNK)
            width = stop - start
            for i in range(width):
                first[i] = -np.inf
                second[i] = -np.inf
                total[i] = zero
                own[i] = zero
            if not every:
                for i in range(width):
                    label = labels[b, start + i]
                    counted += label != ignore
                    own_class[i] = label if (label != ignore and label >= 0 and label < classes) else -1
            k = 0
            while k + 4 <= classes:
                r0 = _fetch(z, widen, b, k, start, stop, buffers[0])
                r1 = _fetch(z, widen, b, k + 1, start, stop, buffers[1])
                r2 = _fetch(z, widen, b, k + 2, start, stop, buffers[2])
                r3 = _fetch(z, widen, b, k + 3, start, stop, buffers[3])
                k0, k1, k2, k3 = np.int32(k), np.int32(k + 1), np.int32(k + 2), np.int32(k + 3)
                for i in range(width):
                    v0, v1, v2, v3 = r0[i], r1[i], r2[i], r3[i]
                    total[i] += (v0 + v1) + (v2 + v3)
                    at = own_class[i]
                    mine = v0 if at == k0 else own[i]
                    mine = v1 if at == k1 else mine
                    mine = v2 if at == k2 else mine
                    own[i] = v3 if at == k3 else mine
                    one, two = first[i], second[i]
                    low = v0 if v0 < one else one
                    one = v0 if v0 > one else one
                    two = low if low > two else two
                    low = v1 if v1 < one else one
                    one = v1 if v1 > one else one
                    two = low if low > two else two
                    low = v2 if v2 < one else one
                    one = v2 if v2 > one else one
                    two = low if low > two else two
                    low = v3 if v3 < one else one
                    one = v3 if v3 > one else one
                    two = low if low > two else two
                    first[i] = one
                    second[i] = two
                k += 4
            while k < classes:
                row = _fetch(z, widen, b, k, start, stop, buffers[0])
                this = np.int32(k)
                for i in range(width):
                    v = row[i]
                    total[i] += v
                    own[i] = v if own_class[i] == this else own[i]
                    one = first[i]
                    low = v if v < one else one
                    first[i] = v if v > one else one
                    second[i] = low if low > second[i] else second[i]
                k += 1
            suspicious = 0
            ties = 0
            for i in range(width):
                suspicious += 0 if abs(total[i]) < np.inf else 1
                ties += 1 if first[i] == second[i] else 0
            if suspicious and not _all_finite(z, widen, b, start, stop, buffers[0]):
                bad += 1
            if not every:
                if ties:
                    # Tied pixels are correct only if no earlier class shares the maximum.
                    _drop_later_ties(z, widen, b, start, own_class, first, second, width)
                for i in range(width):
                    item = (own[i] == first[i]) & (own_class[i] >= 0)
                    d = np.float64(first[i]) - np.float64(second[i])
                    out[b, start + i] = d if item else np.nan
                    items += item
            else:
                for i in range(width):
                    out[b, start + i] = np.float64(first[i]) - np.float64(second[i])
                items += width
            for i in range(width):
                d = out[b, start + i]
                if d >= 0:
                    bins[_bucket(d)] += 1
        counts[b, worker, 0] = items
        counts[b, worker, 1] = counted
        counts[b, worker, 2] = bad


@njit(parallel=True, cache=True, error_model="numpy")
def read_logit(
    z: npt.NDArray[Any],
    widen: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    ignore: int,
    every: bool,
    out: npt.NDArray[np.float64],
    histogram: npt.NDArray[np.int32],
    counts: npt.NDArray[np.int64],
) -> None:
    """Write d = |z| of a single-logit head (class 1 where z is above 0); arguments as in `read_classes`, K = 1."""
    images = z.shape[0]
    pixels = z.shape[2] * z.shape[3]
    workers = histogram.shape[1]
    chunks = (pixels + CHUNK - 1) // CHUNK
    share = (chunks + workers - 1) // workers
    for task in prange(images * workers):
        b = task // workers
        worker = task - b * workers
        buffer = np.empty(CHUNK, widen.dtype)
        bins = histogram[b, worker]
        bins[:] = 0
        items = 0
        counted = 0
        bad = 0
        for c in range(worker * share, min((worker + 1) * share, chunks)):
            start = c * CHUNK
            stop = min(pixels, start + CHUNK)
            row = _fetch(z, widen, b, 0, start, stop, buffer)
            for i in range(stop - start):
                v = row[i]
                bad += 0 if np.isfinite(v) else 1
                item = every
                if not every:
                    label = labels[b, start + i]
                    counted += label != ignore
                    item = label != ignore and label == (v > 0)
                if item:
                    d = np.float64(abs(v))
                    out[b, start + i] = d
                    bins[_bucket(d)] += 1
                    items += 1
                else:
                    out[b, start + i] = np.nan
        counts[b, worker, 0] = items
        counts[b, worker, 1] = counted
        counts[b, worker, 2] = bad

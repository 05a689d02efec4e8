"""The one pass over the logits, compiled by numba: margins, clean counts and finiteness."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit, prange

CHUNK = 2048
"""Pixels a thread works on at once: label, running maximum and scratch stay in the first-level cache."""


@njit(parallel=True, cache=True, error_model="numpy")
def margins_to_labels(
    z: npt.NDArray[Any],
    labels: npt.NDArray[np.int64],
    ignore: int,
    out: npt.NDArray[np.float64],
    finite: npt.NDArray[np.bool_],
    valid: npt.NDArray[np.int64],
) -> None:
    """Write d = z_y - max of the others for pixels predicted as labelled, NaN for all others.

    Args:
        z: [B, K, P] logits, K >= 2, float32 or float64.
        labels: [B, P].
        ignore: the label left out, or a negative number for none.
        out: [B, P], overwritten.
        finite: [B, chunks], overwritten: whether the chunk's logits are all finite.
        valid: [B, chunks], overwritten: pixels of the chunk whose label is not `ignore`.
    """
    images, classes, pixels = z.shape
    chunks = (pixels + CHUNK - 1) // CHUNK
    for task in prange(images * chunks):
        b = task // chunks
        c = task - b * chunks
        start = c * CHUNK
        stop = min(pixels, start + CHUNK)
        width = stop - start
        zero = z.dtype.type(0)
        y = np.empty(CHUNK, np.int32)
        own = np.empty(CHUNK, z.dtype)
        rest = np.empty(CHUNK, z.dtype)
        poison = np.empty(CHUNK, z.dtype)
        counted = 0
        for i in range(width):
            label = labels[b, start + i]
            counted += label != ignore
            y[i] = label if (label != ignore and 0 <= label < classes) else -1
            own[i] = zero
            rest[i] = -np.inf
            poison[i] = zero
        for k in range(classes):
            row = z[b, k, start:stop]
            this = np.int32(k)
            for i in range(width):
                v = row[i]
                poison[i] += v - v
                hit = y[i] == this
                own[i] = v if hit else own[i]
                other = rest[i] if hit else v
                rest[i] = other if other > rest[i] else rest[i]
        bad = zero
        for i in range(width):
            bad += poison[i]
            d = np.float64(own[i]) - np.float64(rest[i])
            correct = y[i] >= 0 and d >= 0
            if correct and own[i] == rest[i]:
                for k in range(y[i]):
                    if z[b, k, start + i] == own[i]:
                        correct = False
            out[b, start + i] = d if correct else np.nan
        finite[b, c] = bad == zero
        valid[b, c] = counted


@njit(parallel=True, cache=True, error_model="numpy")
def margins_to_prediction(z: npt.NDArray[Any], out: npt.NDArray[np.float64], finite: npt.NDArray[np.bool_]) -> None:
    """Write d = largest logit - second largest for every pixel.

    Args:
        z: [B, K, P] logits, K >= 2, float32 or float64.
        out: [B, P], overwritten.
        finite: [B, chunks], overwritten.
    """
    images, classes, pixels = z.shape
    chunks = (pixels + CHUNK - 1) // CHUNK
    for task in prange(images * chunks):
        b = task // chunks
        c = task - b * chunks
        start = c * CHUNK
        stop = min(pixels, start + CHUNK)
        width = stop - start
        zero = z.dtype.type(0)
        first = np.empty(CHUNK, z.dtype)
        second = np.empty(CHUNK, z.dtype)
        poison = np.empty(CHUNK, z.dtype)
        for i in range(width):
            first[i] = -np.inf
            second[i] = -np.inf
            poison[i] = zero
        for k in range(classes):
            row = z[b, k, start:stop]
            for i in range(width):
                v = row[i]
                poison[i] += v - v
                low = v if v < first[i] else first[i]
                first[i] = v if v > first[i] else first[i]
                second[i] = low if low > second[i] else second[i]
        bad = zero
        for i in range(width):
            bad += poison[i]
            out[b, start + i] = np.float64(first[i]) - np.float64(second[i])
        finite[b, c] = bad == zero


@njit(cache=True, error_model="numpy")
def count_sorted(margins: npt.NDArray[np.float64], exponent: int, scale: float, limit: int) -> int:
    """Count how many of the cheapest items fit a budget together.

    Args:
        margins: ascending, no NaN.
        exponent: of the budget, 1 or 2.
        scale: grid units per unit of d^q, rounded down.
        limit: grid units of the whole budget.

    Returns:
        The count; sums are exact in 64-bit integers.
    """
    spent = np.int64(0)
    top = np.float64(limit + 1)
    for i in range(margins.size):
        d = margins[i]
        cost = d * d * scale if exponent == 2 else d * scale
        if cost >= top:
            return i
        spent += np.int64(cost) if cost >= 0 else np.int64(0)
        if spent > limit:
            return i
    return int(margins.size)

"""The one pass over coarse logits, compiled by numba: full-size margins, and the sorted keys of every cell.

A task takes a band, one row of cells, and in it one row of pixels after another. Slot p of a row holds the p-th pixel
of every cell: neighbours in memory have the same neighbours' nodes, so that interpolation is straight-line vector
code whatever the factor. A row's interpolated logits stay in the cache; the two largest of each pixel are taken as of
full-size logits, and the keys of a band are sorted for all of its cells at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from robspec.kernels._jit import compiled
from robspec.kernels.coarse._sorting import ascending
from robspec.kernels.knapsack._margins import _SPARE, BUCKETS, correct, only, tally, top_two

_HELD = 1 << 14
"""Interpolated logits that are held at once, but for at least one slot of all classes."""


@compiled()
def down(plane: Any, first: int, weights: Any, line: Any, columns: Any, taken: Any) -> None:
    """Interpolate one class along the height, and lay out what each column of cells needs of it.

    Args:
        plane: [h, w] logits.
        first: the first node's row.
        weights: [S] of the rows from there on.
        line: [w] scratch.
        columns: int64 [C], the first node of each column of cells.
        taken: [T, C], overwritten with the nodes from there on.
    """
    for n in range(line.size):
        line[n] = weights[0] * plane[first, n]
    for s in range(1, weights.size):
        weight = weights[s]
        for n in range(line.size):
            line[n] = line[n] + weight * plane[first + s, n]
    for t in range(taken.shape[0]):
        for c in range(columns.size):
            taken[t, c] = line[columns[c] + t]


@compiled()
def along(weights: Any, taken: Any, out: Any) -> None:
    """Interpolate one class along the width, in some slots.

    Args:
        weights: [X, T, C].
        taken: [T, C], as `down` laid it out.
        out: [X, C], overwritten.
    """
    slots, terms, columns = weights.shape
    if terms == 2:
        for p in range(slots):
            for c in range(columns):
                out[p, c] = weights[p, 0, c] * taken[0, c] + weights[p, 1, c] * taken[1, c]
        return
    for p in range(slots):
        for c in range(columns):
            out[p, c] = weights[p, 0, c] * taken[0, c]
        for t in range(1, terms):
            for c in range(columns):
                out[p, c] = out[p, c] + weights[p, t, c] * taken[t, c]


@compiled()
def lay_out(labels: Any, starts: Any, asked: Any) -> None:
    """Copy a row of labels, [W], to their slots; what has no pixel stays as it is."""
    columns = starts.size - 1
    for c in range(columns):
        at = c
        for x in range(starts[c], starts[c + 1]):
            asked[at] = labels[x]
            at += columns


@compiled()
def price(margins: Any, slack: float, height: float, width: Any, keys: Any) -> None:
    """Lessen margins by their rounding, and price them.

    Args:
        margins: NaN where a pixel is no item.
        slack: what they may be too large by.
        height: 1 / (sum of squared weights) along the height.
        width: the same along the width.
        keys: overwritten, infinite where a pixel is no item.
    """
    for i in range(margins.size):
        d = margins[i] - slack
        d = 0.0 if d < 0.0 else d
        margins[i] = d
        key = d * d * height * width[i]
        keys[i] = key if d >= 0.0 else np.inf


@compiled(parallel=True)
def read(
    z: Any,
    weights_down: Any,
    first_rows: Any,
    row_starts: Any,
    weights_along: Any,
    first_columns: Any,
    column_starts: Any,
    inverse_down: Any,
    inverse_along: Any,
    labels: Any,
    ignore: int,
    every: bool,
    slack: Any,
    margins: Any,
    keys: Any,
    histogram: Any,
    counts: Any,
    predicted: Any,
) -> None:
    """Write each item's margin, and the keys of each cell in ascending order.

    Args:
        z: float64 [B, K, h, w] coarse logits, contiguous, finite.
        weights_down: float64 [H, S].
        first_rows: int64 [R], the first node's row of each band.
        row_starts: int64 [R + 1], the first row of pixels of each band, and H.
        weights_along: float64 [X, T, C], by slot; those of the cell's last pixel where it has no such one.
        first_columns: int64 [C].
        column_starts: int64 [C + 1].
        inverse_down: float64 [H].
        inverse_along: float64 [X * C], by slot.
        labels: int64 [B, H, W], or [B, 0, 0] for none.
        ignore: the label left out, or a number no label has.
        every: True when every pixel not ignored is an item, False when only those predicted as labelled are.
        slack: float64 [B], what a margin may be too large by.
        margins: float64 [B, R, Y, X * C], overwritten, NaN where there is no pixel or it is no item.
        keys: float64 [B, R, Y * X, C], overwritten: of each cell ascending, infinite beyond its items.
        histogram: int32 [B, workers, BUCKETS], overwritten: items per bucket of margins.
        counts: int64 [B, workers, 2], overwritten: items; labels other than `ignore`.
        predicted: bool [B, workers, K or 2], overwritten: classes predicted somewhere.
    """
    images, classes, _, nodes = z.shape
    bands, tall, across = margins.shape[1], margins.shape[2], margins.shape[3]
    slots, terms, columns = weights_along.shape
    workers = histogram.shape[1]
    share = (bands + workers - 1) // workers
    labelled = labels.shape[1] > 0
    held = max(1, min(slots, _HELD // (classes * columns)))
    for task in prange(images * workers):
        b = task // workers
        worker = task - b * workers
        line = np.empty(nodes)
        taken = np.empty((classes, terms, columns))
        buffers = np.empty((4, 1))
        widen = np.empty(1)
        first, second, total = np.empty(held * columns), np.empty(held * columns), np.empty(held * columns)
        chosen = np.empty(held * columns, np.int32)
        asked = np.empty(across, np.int64)
        place = np.empty(across, np.uint16)
        bins = np.zeros(BUCKETS + _SPARE, np.int32)
        met = np.zeros(predicted.shape[2], np.bool_)
        blended = np.empty((classes, held, columns))
        items = 0
        counted = 0
        for p in range(slots):
            for c in range(columns):
                there = column_starts[c] + p < column_starts[c + 1]
                asked[p * columns + c] = (ignore + 1 if not labelled else 0) if there else ignore
        for r in range(worker * share, min((worker + 1) * share, bands)):
            top, bottom = row_starts[r], row_starts[r + 1]
            flat = keys[b, r].reshape(tall, across)
            for y in range(top, bottom):
                row = margins[b, r, y - top]
                for k in range(classes):
                    down(z[b, k], first_rows[r], weights_down[y], line, first_columns, taken[k])
                if labelled:
                    lay_out(labels[b, y], column_starts, asked)
                for begin in range(0, slots, held):
                    end = min(begin + held, slots)
                    width = (end - begin) * columns
                    for k in range(classes):
                        along(weights_along[begin:end], taken[k], blended[k])
                    one, two, sums, most = first[:width], second[:width], total[:width], chosen[:width]
                    if classes == 1:
                        only(blended.reshape(held * columns)[:width], one, two, most, sums)
                    else:
                        maps = blended.reshape(1, classes, 1, held * columns)
                        top_two(maps, widen, 0, 0, width, one, two, most, sums, buffers)
                    part = slice(begin * columns, end * columns)
                    some, kept = correct(one, two, most, asked[part], ignore, every, row[part])
                    items += some
                    counted += kept
                    for i in range(width):
                        met[most[i]] = True
                price(row, slack[b], inverse_down[y], inverse_along, flat[y - top])
                tally(row, place, bins)
            margins[b, r, bottom - top :] = np.nan
            flat[bottom - top :] = np.inf
            ascending(keys[b, r], (bottom - top) * slots)
        histogram[b, worker] = bins[:BUCKETS]
        counts[b, worker, 0] = items
        counts[b, worker, 1] = counted
        predicted[b, worker] = met

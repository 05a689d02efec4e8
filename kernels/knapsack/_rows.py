"""The pass over logits of whole images, compiled by numba: one row of logits an image, one margin.

Each logit is read once, and as the integer of its bits: maxima of integers are taken in eight lanes at once, those of
floating-point numbers one by one. Numbers from 0 on are ordered as their bits are, numbers below 0 the other way
round, and without its sign the largest says whether all are finite. A row's own class is known beforehand, so that
what lies before and behind it is all that is looked at.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from robspec.kernels._jit import compiled

_ROWS = 64
"""Rows a task works on."""


@compiled()
def extremes(bits: Any, start: int, stop: int) -> Any:
    """The largest, the least and the largest without its sign of some numbers' bits.

    Returns:
        Of no numbers: minus infinity's largest, as all numbers are above it, and nothing else that matters.
    """
    integer = bits.dtype.type
    sign = integer(np.iinfo(bits.dtype).max)
    largest, least, size = integer(~sign), sign, integer(0)
    # Unsigned places need no look at whether they count from the end, so that lanes can be loaded.
    for k in range(np.uint64(start), np.uint64(stop)):
        value = bits[k]
        size = integer(max(size, integer(value & sign)))
        largest = integer(max(largest, value))
        least = integer(min(least, value))
    return largest, least, size


@compiled()
def first_of(row: Any, value: Any) -> int:
    """Where a value occurs first; 0 where it does not."""
    for k in range(row.size):
        if row[k] == value:
            return k
    return 0


@compiled()
def number(largest: Any, least: Any, bits: Any, held: Any) -> Any:
    """The largest number of which the bits' extremes are known, minus infinity of none.

    Args:
        largest: of the bits.
        least: of the bits.
        bits: [1], the bits of `held`, overwritten.
        held: floating point [1].
    """
    if largest < 0 <= least:
        return held.dtype.type(-np.inf)
    bits[0] = largest if largest >= 0 else least
    return held[0]


@compiled(parallel=True)
def read(z: Any, bits: Any, labels: Any, ignore: int, every: bool, margins: Any, kept: Any, finite: Any) -> None:
    """Write each image's margin, its class's logit minus the largest other, or |z| of a single one.

    Args:
        z: [B, K] logits, contiguous, float32 or float64.
        bits: the same as signed integers.
        labels: [B], or [0] for none.
        ignore: the label left out, or a number no label has.
        every: True when every image not ignored is an item, False when only those predicted as labelled are.
        margins: float64 [B], overwritten, NaN where an image is no item.
        kept: bool [B], overwritten: whether the label counts.
        finite: bool [B], overwritten.
    """
    images, classes = z.shape
    labelled = labels.size > 0
    for task in prange((images + _ROWS - 1) // _ROWS):
        held = np.empty(1, z.dtype)
        mark = held.view(bits.dtype)
        held[0] = np.inf
        infinite = mark[0]
        for b in range(task * _ROWS, min((task + 1) * _ROWS, images)):
            row = z[b]
            label = labels[b] if labelled else 0
            kept[b] = not labelled or label != ignore
            margins[b] = np.nan
            own = label if classes > 1 else 0
            if every or own < 0 or own >= classes:
                largest, least, size = extremes(bits[b], 0, classes)
                finite[b] = size < infinite
                if not every or not kept[b] or not finite[b]:
                    continue
                own = first_of(row, number(largest, least, mark, held)) if classes > 1 else 0
            before, least_before, size_before = extremes(bits[b], 0, own)
            behind, least_behind, size_behind = extremes(bits[b], own + 1, classes)
            finite[b] = max(size_before, size_behind) < infinite and np.isfinite(row[own])
            if not kept[b] or not finite[b]:
                continue
            if classes == 1:
                if every or (row[0] > 0) == (label == 1):
                    margins[b] = abs(np.float64(row[0]))
                continue
            first, rest = number(before, least_before, mark, held), number(behind, least_behind, mark, held)
            # The first class of the largest logit is predicted.
            if row[own] > first and row[own] >= rest:
                margins[b] = abs(np.float64(row[own]) - np.float64(max(first, rest)))

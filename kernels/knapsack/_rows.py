"""The pass over logits of whole images, compiled by numba: one row of logits an image, one margin.

Classes lie beside each other, and each logit is read once from memory: a row stays in the first-level cache for the
maximum of the other classes and for the sum that tells whether all are finite. A row's own class is known beforehand,
so that one maximum over the rest is enough.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from robspec.kernels._jit import compiled

_ROWS = 64
"""Rows a task works on."""


@compiled(freedom=frozenset({"nnan", "nsz"}))
def largest(row: Any, start: int, stop: int) -> Any:
    """The largest of some numbers, none of them NaN; minus infinity of none. In any order it is the same."""
    found = row.dtype.type(-np.inf)
    for k in range(start, stop):
        found = max(found, row[k])
    return found


@compiled(freedom=frozenset({"reassoc", "nsz"}))
def total(row: Any) -> Any:
    """A sum in any order: it is finite unless a number is not, or unless it overflows, in some order."""
    found = row.dtype.type(0)
    for k in range(row.size):
        found += row[k]
    return found


@compiled()
def all_finite(row: Any) -> bool:
    """Look at every number, where their sum says nothing."""
    sound = True
    for k in range(row.size):
        sound &= np.isfinite(row[k])
    return sound


@compiled()
def first_of(row: Any, value: Any) -> int:
    """Where a value occurs first; 0 where it does not."""
    for k in range(row.size):
        if row[k] == value:
            return k
    return 0


@compiled(parallel=True)
def read(z: Any, labels: Any, ignore: int, every: bool, margins: Any, kept: Any, finite: Any) -> None:
    """Write each image's margin, its class's logit minus the largest other, or |z| of a single one.

    Args:
        z: [B, K] logits, contiguous, float32 or float64.
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
        for b in range(task * _ROWS, min((task + 1) * _ROWS, images)):
            row = z[b]
            finite[b] = abs(total(row)) < np.inf or all_finite(row)
            label = labels[b] if labelled else 0
            kept[b] = not labelled or label != ignore
            margins[b] = np.nan
            if not kept[b] or not finite[b]:
                continue
            if classes == 1:
                if every or (row[0] > 0) == (label == 1):
                    margins[b] = abs(np.float64(row[0]))
                continue
            own = first_of(row, largest(row, 0, classes)) if every else label
            if own < 0 or own >= classes:
                continue
            before, after = largest(row, 0, own), largest(row, own + 1, classes)
            # The first class of the largest logit is predicted.
            if row[own] > before and row[own] >= after:
                margins[b] = abs(np.float64(row[own]) - np.float64(max(before, after)))

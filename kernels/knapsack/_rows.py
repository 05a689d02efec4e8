"""The pass over logits of whole images, compiled by numba: one row of logits an image, one margin.

Classes lie beside each other, so that the lanes of the running maxima are classes, and each logit is read once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from robspec.kernels._jit import compiled

LANES = 32
_ROWS = 64
"""Rows a task works on."""


@compiled(parallel=True)
def read(
    z: Any, labels: Any, ignore: int, every: bool, margins: Any, kept: Any, finite: Any
) -> None:
    """Write each image's margin, the largest logit minus the second largest, or |z| of a single one.

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
        one = np.empty(LANES, z.dtype)
        two = np.empty(LANES, z.dtype)
        total = np.empty(LANES, z.dtype)
        for b in range(task * _ROWS, min((task + 1) * _ROWS, images)):
            row = z[b]
            for t in range(LANES):
                one[t] = -np.inf
                two[t] = -np.inf
                total[t] = 0
            whole = classes - classes % LANES
            for start in range(0, whole, LANES):
                part = row[start : start + LANES]
                for t in range(LANES):
                    v = part[t]
                    first = one[t]
                    low = first if v > first else v
                    one[t] = v if v > first else first
                    two[t] = low if low > two[t] else two[t]
                    total[t] += v
            for t in range(classes - whole):
                v = row[whole + t]
                first = one[t]
                low = first if v > first else v
                one[t] = v if v > first else first
                two[t] = low if low > two[t] else two[t]
                total[t] += v
            first, second = one[0], two[0]
            sound = abs(total[0]) < np.inf
            for t in range(1, LANES):
                v = one[t]
                low = first if v > first else v
                low = low if low > two[t] else two[t]
                first = v if v > first else first
                second = low if low > second else second
                sound &= abs(total[t]) < np.inf
            if not sound:
                # The sum of huge logits may overflow where none of them is infinite.
                sound = True
                for k in range(classes):
                    sound &= np.isfinite(row[k])
            finite[b] = sound
            label = labels[b] if labelled else 0
            counts = not labelled or label != ignore
            kept[b] = counts
            item = counts
            if not every:
                item = counts and 0 <= label < max(classes, 2) and _leads(row, label, first)
            if classes == 1:
                margins[b] = abs(np.float64(row[0])) if item else np.nan
            else:
                margins[b] = abs(np.float64(first) - np.float64(second)) if item else np.nan


@compiled()
def _leads(row: Any, label: int, first: Any) -> bool:
    """Whether a label is the prediction: the first class of the largest logit; of one logit, class 1 above 0."""
    if row.size == 1:
        return bool((row[0] > 0) == (label == 1))
    if row[label] != first:
        return False
    for k in range(label):
        if row[k] == first:
            return False
    return True

"""Compiled: the items of open cells that a budget may pay for."""

from __future__ import annotations

from typing import Any

import numpy as np

from robspec.kernels._jit import compiled


@compiled()
def reach(
    margins: Any,
    cells: Any,
    order: Any,
    inverse_down: Any,
    inverse_along: Any,
    scale: float,
    limit: int,
    counts: Any,
    found: Any,
    slots: Any,
) -> int:
    """List them, cell by cell in the order given.

    Args:
        margins: float64 [m, N], NaN where there is no item, which no comparison holds of.
        cells: int64 [m], the cell of each row.
        order: int64 [m], rows by cell.
        inverse_down: float64 [R, N], as in `Layout`.
        inverse_along: float64 [C, N].
        scale: of the budget.
        limit: of the budget.
        counts: int64 [m], overwritten: items of each row, in the order given.
        found: float64 [m * N], overwritten from the left: margins.
        slots: int64 [m * N], overwritten from the left.

    Returns:
        How many there are.
    """
    columns, over = inverse_along.shape[0], np.float64(limit + 1)
    n = np.int64(0)
    for place in range(order.size):
        row = margins[order[place]]
        r, c = cells[order[place]] // columns, cells[order[place]] % columns
        height, width = inverse_down[r], inverse_along[c]
        before = n
        for i in range(row.size):
            d = row[i]
            if d * d * height[i] * width[i] * scale < over:
                found[n] = d
                slots[n] = i
                n += 1
        counts[place] = n - before
    return int(n)

"""Overlaps of many pairs of boxes compared with a threshold in doubles, compiled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from robspec.kernels._jit import compiled

ROUNDING = 2.0**-46
"""Relative, of the difference that is compared with 0."""


@compiled()
def signs(
    a: npt.NDArray[np.float64],
    b: npt.NDArray[np.float64],
    rows_a: int,
    columns_a: int,
    rows_b: int,
    columns_b: int,
    threshold: float,
) -> npt.NDArray[np.int8]:  # pragma: no cover  (compiled)
    """Compare every pair of a table.

    Args:
        a: [rows_a * columns_a, 4].
        b: [rows_b * columns_b, 4].
        rows_a: as many as the table has, or 1.
        columns_a: the same of columns.
        rows_b: as many as the table has, or 1.
        columns_b: the same of columns.
        threshold: nearest to the exact one.

    Returns:
        [rows, columns]: -1 or 1 where the overlap is surely below or above, 0 where doubles do not tell.
    """
    rows = rows_b if rows_a == 1 else rows_a
    columns = columns_b if columns_a == 1 else columns_a
    found = np.zeros((rows, columns), dtype=np.int8)
    share = ROUNDING * (1.0 + abs(threshold))
    for i in range(rows):
        for j in range(columns):
            p = (0 if rows_a == 1 else i) * columns_a + (0 if columns_a == 1 else j)
            q = (0 if rows_b == 1 else i) * columns_b + (0 if columns_b == 1 else j)
            wide = min(a[p, 2], b[q, 2]) - max(a[p, 0], b[q, 0])
            tall = min(a[p, 3], b[q, 3]) - max(a[p, 1], b[q, 1])
            if threshold > 0.0 and (wide < 0.0 or tall < 0.0):
                found[i, j] = -1
                continue
            both = max(wide, 0.0) * max(tall, 0.0)
            total = max(a[p, 2] - a[p, 0], 0.0) * max(a[p, 3] - a[p, 1], 0.0)
            total += max(b[q, 2] - b[q, 0], 0.0) * max(b[q, 3] - b[q, 1], 0.0)
            gap = both - threshold * (total - both)
            if abs(gap) > share * (total + both):
                found[i, j] = 1 if gap > 0.0 else -1
    return found

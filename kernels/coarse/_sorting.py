"""Sorting many short lists at once: a network of comparators, each of which orders one pair of every list."""

from __future__ import annotations

from typing import Any

import numpy as np

from robspec.kernels._jit import compiled


@compiled()
def ascending(block: Any, count: int) -> None:
    """Sort the first numbers of every column.

    Args:
        block: float64 [N, C], contiguous, no NaN, sorted in place.
        count: how many rows are sorted.

    Source: Batcher 1968, merge exchange; Knuth, The Art of Computer Programming 3, 5.2.2, algorithm M.
    """
    columns = block.shape[1]
    flat = block.reshape(block.size)
    p = 1
    while p < count:
        k = p
        while k >= 1:
            for j in range(k % p, count - k, 2 * k):
                for i in range(j, min(j + k, count - k)):
                    if i // (2 * p) == (i + k) // (2 * p):
                        low, high = np.uint64(i * columns), np.uint64((i + k) * columns)
                        for c in range(np.uint64(columns)):
                            a, b = flat[low + c], flat[high + c]
                            flat[low + c] = a if a < b else b
                            flat[high + c] = b if a < b else a
            k //= 2
        p *= 2

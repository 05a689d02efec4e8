"""Averages and maxima over windows."""

from __future__ import annotations

from robspec.privacy.asked import Asked, Effect

OPERATIONS = (
    *("avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d"),
    *("max_pool1d", "max_pool2d", "max_pool3d", "max_pool1d_with_indices", "max_pool2d_with_indices", "mean"),
)


def effect(asked: Asked) -> Effect:
    """Bound averages by the norm of their matrix, maxima by the root of how many windows share an entry.

    A maximum sends its gradient to one entry of its window, which may be that of every window that holds it.
    """
    return asked.one(asked.gain())

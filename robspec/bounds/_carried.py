"""What metrics of a data set keep of a batch, as arrays: whoever holds the logits may have read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from robspec.bounds.confusion import Confusion
from robspec.kernels.knapsack import FloatArray

Array: TypeAlias = npt.NDArray[Any]
"""int64 or float64."""

_COUNTS = ("tp", "fp", "fn", "tn", "leaves", "enters", "pixels")
_FLAGS = ("single", "leave_squared", "enter_squared")
_LOOPS = ("cpu", "numpy", "reference")
"""Backends by the loops that go on with a list, which all find the same; any other goes on with the first's."""


def confusions(images: Iterable[tuple[Confusion, FloatArray, FloatArray]]) -> Iterator[Array]:
    """Write the counts of images, with what it costs each pixel to leave and to enter.

    Args:
        images: each with both lists, ascending.

    Returns:
        A row of integers for each image, and all lists one after another.
    """
    rows, lists = [], []
    for c, leave, enter in images:
        numbers = [getattr(c, name) for name in (*_COUNTS, *_FLAGS)]
        loops = _LOOPS.index(c.backend) if c.backend in _LOOPS else 0
        rows.append([*map(int, numbers), loops, len(leave), len(enter)])
        lists += [leave, enter]
    yield np.array(rows, dtype=np.int64).reshape(len(rows), len(_COUNTS) + len(_FLAGS) + 3)
    yield from ragged(lists)


def confusions_of(arrays: Iterator[Array]) -> list[tuple[Confusion, FloatArray, FloatArray]]:
    """Read what `confusions` wrote; the lists of the counts themselves are empty."""
    rows = next(arrays).tolist()
    lists = iter(split(next(arrays), [n for row in rows for n in row[-2:]]))
    found = []
    for row in rows:
        counts = dict(zip(_COUNTS, row, strict=False))
        flags: dict[str, Any] = dict(zip(_FLAGS, map(bool, row[len(_COUNTS) :]), strict=False))
        confusion = Confusion(**counts, **flags, lists=_none, backend=_LOOPS[row[-3]])
        found.append((confusion, next(lists), next(lists)))
    return found


def ragged(lists: Sequence[FloatArray]) -> Iterator[Array]:
    """Write lists of doubles one after another."""
    yield np.concatenate([np.empty(0), *lists])


def split(values: FloatArray, lengths: Sequence[int]) -> list[FloatArray]:
    """Take lists of given lengths apart again.

    Raises:
        ValueError: together they are not as long as what there is.
    """
    ends = np.cumsum(lengths, dtype=np.int64)
    if (int(ends[-1]) if len(ends) else 0) != len(values):
        raise ValueError("the lists are not as long as is said of them")
    return np.split(values, ends[:-1]) if len(ends) else []


def _none(_leave: object, _enter: object) -> tuple[FloatArray, FloatArray]:
    return np.empty(0), np.empty(0)

"""The items of one class as far as budgets reach, by a histogram of prices from below."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from robspec.kernels.knapsack import FloatArray, IntArray
from robspec.kernels.knapsack._histogram import edges, reach
from robspec.kernels.knapsack._margins import BUCKETS
from robspec.kernels.knapsack.budget import Budget, costs

CERTAIN = 1 - 2.0**-32
"""A pair bound computed in doubles may exceed the water filling's cost by its rounding, far less than this."""


class Within(ABC):
    """Lists that are collected when a budget asks for them, and again when one reaches farther.

    Args:
        stretch: an enter item costs less than this many times its price from below.
    """

    def __init__(self, stretch: float) -> None:
        self._stretch = stretch
        self._asked: dict[int, tuple[Budget | None, Budget | None]] = {}
        self._kept: dict[int, tuple[tuple[int, int], tuple[FloatArray, FloatArray], bool]] = {}

    @abstractmethod
    def _readable(self, image: int) -> bool:
        """Tell whether an image's logits are finite."""

    @abstractmethod
    def _count(self, image: int) -> IntArray:
        """Count an image's items in each bucket, int64 [2, BUCKETS]: leave items, enter items priced from below."""

    @abstractmethod
    def _collect(
        self, image: int, ends: tuple[int, int], enough: Budget | None
    ) -> tuple[FloatArray, FloatArray, bool]:
        """Give the exact leave and enter items, ascending, of those priced in the buckets before the ends.

        Args:
            image: its index.
            ends: of leave and of enter items.
            enough: a budget for enter items: those dearer than what exhausts it may be left out; None for none.

        Returns:
            Leave items, enter items, and whether none is left out.
        """

    def lists(
        self, image: int, leave: Budget | None = None, enter: Budget | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """See `OneClass.lists`."""
        if not self._readable(image):
            return np.empty(0), np.empty(0)
        if image in self._asked and all(map(_covers, self._asked[image], (leave, enter))):
            return self._kept[image][1]
        self._asked[image] = leave, enter
        count = self._count(image)
        ends = reach(count[0], leave, 1.0), reach(count[1], enter, self._stretch)
        known, lists, whole = self._kept.get(image, ((-1, -1), (np.empty(0), np.empty(0)), True))
        if ends[0] > known[0] or ends[1] > known[1]:
            known = max(ends[0], known[0]), max(ends[1], known[1])
            lists, whole = self._certain(image, known, enter)
        elif not whole:
            # One budget after another reaches for the same items: from now on they are all there.
            lists, whole = self._certain(image, known, None)
        if known[1] < BUCKETS and enter is not None and not _exceeds(lists[1], enter):
            known = known[0], BUCKETS
            lists, whole = self._certain(image, known, enter)
        self._kept[image] = known, lists, whole
        return lists

    def _certain(
        self, image: int, ends: tuple[int, int], enough: Budget | None
    ) -> tuple[tuple[FloatArray, FloatArray], bool]:
        leave, enter, whole = self._collect(image, ends, enough)
        if ends[1] < BUCKETS:
            # Beyond the last edge items are missing: among those that are there, the dearer may come after them.
            enter = enter[enter < edges()[ends[1]] * CERTAIN]
        return (leave, enter), whole


def _covers(large: Budget | None, small: Budget | None) -> bool:
    """Tell whether items that are enough for one budget are enough for another."""
    if large is None or small is None:
        return large is None
    if (large.exponent, large.limit) != (small.exponent, small.limit):
        return False
    return small.scale >= large.scale if large.exponent else small.scale <= large.scale


def _exceeds(ascending: FloatArray, budget: Budget) -> bool:
    """Tell whether items cost more than a budget together; where they flip alone, all it flips are there anyway."""
    return not budget.exponent or int(costs(ascending, budget).sum()) > budget.limit

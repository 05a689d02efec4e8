"""One class set at a time on the CPU: a single class on ranked logits, a larger set or a single logit by itself."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from robspec.arrays import Array
from robspec.kernels._threads import share
from robspec.kernels.knapsack import (
    BoolArray,
    FloatArray,
    IntArray,
    LogitsBatch,
    OneClass,
    _classes,
    _nearest,
    squared_lists,
)
from robspec.kernels.knapsack import _ranked as ranked
from robspec.kernels.knapsack._cpu_pair import TwoClasses
from robspec.kernels.knapsack._margins import BUCKETS, CHUNK
from robspec.kernels.knapsack._pair import LARGE_CLASS
from robspec.kernels.knapsack._views import NO_LABEL, label_view, numpy_view, workers
from robspec.kernels.knapsack._within import CERTAIN, Within
from robspec.kernels.knapsack.budget import Budget, costs

AnyArray: TypeAlias = npt.NDArray[Any]
_WORTH = 48
"""Logits for each pixel, read to price items, that take as long as picking its largest ones out."""


def prepare_class(batch: LogitsBatch) -> OneClass:
    """Read a batch of logits for one class set."""
    _, classes, h, w = batch.logits.shape
    if classes <= 2 and h * w > LARGE_CLASS and batch.share == 1.0:
        return TwoClasses(batch, _in_full)
    return _in_full(batch)


def _in_full(batch: LogitsBatch) -> OneClass:
    """Read a batch so that its lists can be had."""
    if batch.logits.shape[1] > 1 and len(batch.inside) == 1:
        return SingleClass(batch)
    return ClassSet(batch)


class Ranked:
    """The two largest logits of each pixel: 8 bytes a pixel, 16 for float64.

    Args:
        logits: [B, K, H, W], K >= 2; read when they are asked for.
    """

    def __init__(self, logits: Array) -> None:
        self.logits = logits
        self.z, self.widen = numpy_view(logits)
        self._near: AnyArray | None = None
        self._read = 0
        self._right: tuple[Array | None, npt.NDArray[np.uint8]] = (None, np.empty(0, dtype=np.uint8))

    @cached_property
    def largest(self) -> tuple[AnyArray, AnyArray, BoolArray]:
        """The largest logits and the second largest, [B, H * W], and whether an image's are all finite."""
        b, _, h, w = self.logits.shape
        first, second = np.empty((2, b, h * w), dtype=self.widen.dtype)
        bad = np.empty((b, workers(h * w, CHUNK)), dtype=np.int64)
        share(ranked.rank, bad.size, self.z, self.widen, first, second, bad)
        return first, second, bad.sum(axis=1) == 0

    def near(self, items: int) -> AnyArray:
        """Give the largest logits of each pixel in class order, as soon as picking them out is worth it.

        Args:
            items: how many are priced next.

        Returns:
            [B, H * W, M], M = 0 where classes are few, and until as much has been read as that takes.
        """
        b, classes, h, w = self.logits.shape
        some = _nearest.MANY <= classes <= _nearest.MOST
        if self._near is None and some and self._read > _WORTH * b * h * w:
            self._near = np.empty((b, h * w, _nearest.NEAREST), dtype=self.widen.dtype)
            share(_nearest.nearest, b * -(-h * w // _nearest.NARROW), self.z, self.widen, self._near)
        self._read += items * classes
        return np.empty((b, h * w, 0), dtype=self.widen.dtype) if self._near is None else self._near

    def right(self, labels: Array | None, viewed: IntArray) -> npt.NDArray[np.uint8]:
        """Tell which pixels have the largest logit at their label, once for all classes that are asked of the labels.

        Args:
            labels: as the batch has them.
            viewed: the same, [B, H * W].

        Returns:
            [B, H * W], 0 or 1.
        """
        if self._right[0] is not labels or labels is None:
            found = np.empty(viewed.shape, dtype=np.uint8)
            share(ranked.meet, len(viewed) * self.z.shape[2], self.z, self.widen, self.largest[0], viewed, found)
            self._right = labels, found
        return self._right[1]


class SingleClass(Within):
    """One class: a histogram of its items at once, the items themselves as far as a budget reaches.

    Args:
        batch: what to read; its `ranked`, if there, must be of the same logits.
    """

    backend = "cpu"
    single = False

    def __init__(self, batch: LogitsBatch) -> None:
        found = batch.ranked if isinstance(batch.ranked, Ranked) else Ranked(batch.logits)
        if found.logits is not batch.logits:
            raise ValueError("the ranks are of other logits")
        # Water filling costs less than twice the pair bound; what is charged whole is so in the prices too.
        super().__init__(2.0 if batch.water else 1.0)
        b, _, h, w = batch.logits.shape
        self.pixels = h * w
        first, second, self.finite = found.largest
        self.leave_squared, self.enter_squared = squared_lists(batch)
        ignore = NO_LABEL if batch.ignore is None else batch.ignore
        labels = label_view(batch.labels, b, self.pixels)
        self._ranked = found
        told_apart = batch.whole_when_wrong and batch.share != 1.0
        right = found.right(batch.labels, labels) if told_apart else np.empty((b, 0), dtype=np.uint8)
        self._source = (found.z, found.widen, first, second, labels, ignore, right, batch.inside[0])
        self._priced = (batch.water, batch.share)
        pieces = workers(self.pixels, CHUNK)
        self._histogram = np.empty((b, pieces, 2, BUCKETS), dtype=np.int32)
        counts = np.empty((b, pieces, 4), dtype=np.int64)
        share(ranked.cells, b * pieces, *self._source, *self._priced, self._histogram, counts)
        totals: IntArray = np.add.reduce(counts, axis=1)
        self.tp, self.fp, self.fn, self.tn = (totals[:, j] for j in range(4))

    def _readable(self, image: int) -> bool:
        return bool(self.finite[image])

    def _count(self, image: int) -> IntArray:
        count: IntArray = np.add.reduce(self._histogram[image], axis=0, dtype=np.int64)
        return count

    def _collect(
        self, image: int, ends: tuple[int, int], enough: Budget | None
    ) -> tuple[FloatArray, FloatArray, bool]:
        per_worker = np.stack(
            [self._histogram[image, :, side, :end].sum(axis=1, dtype=np.int64) for side, end in enumerate(ends)],
            axis=1,
        )
        starts = np.cumsum(per_worker, axis=0) - per_worker
        leave, enter = (np.empty(n) for n in per_worker.sum(axis=0).tolist())
        water = self._priced[0]
        near = self._ranked.near(len(enter) if water else 0)
        unsettled = np.empty(len(enter) if water else 0, dtype=np.int64)
        places = (image, np.array(ends), starts, near, leave, enter, unsettled)
        share(ranked.collect, len(starts), *self._source, *self._priced, *places)
        leave.sort()
        whole = True
        if water:
            enter, whole = self._settled(image, enter, unsettled, enough)
        enter.sort()
        return leave, enter, whole

    def _settled(
        self, image: int, enter: FloatArray, unsettled: IntArray, enough: Budget | None
    ) -> tuple[FloatArray, bool]:
        """Price by all classes what may be cheap enough for a budget that the others do not exhaust before.

        Returns:
            In no order the items that are not dearer than that, and whether these are all.
        """
        known = unsettled < 0
        settled = enter[known]
        settled.sort()
        last = _exhausts(settled, enough)
        # What few logits say is too much by rounding alone; what is no number is left to all of them.
        asked = unsettled[~known & ~(enter * CERTAIN >= last)]
        prices = np.empty(len(asked))
        z, widen, _, _, _, _, right, k = self._source
        how = (right, k, self._priced[1], image, asked, prices)
        share(ranked.settle, -(-len(asked) // _nearest.NARROW), z, widen, *how)
        found = np.concatenate((settled, prices))
        return (found, True) if len(found) == len(enter) else (found[found <= last], False)


def _exhausts(ascending: FloatArray, budget: Budget | None) -> float:
    """The item with which those up to it cost more than a budget together; infinity where none does."""
    if budget is None or not budget.exponent:
        return math.inf
    spent = np.cumsum(costs(ascending, budget))
    at = int(np.searchsorted(spent, budget.limit, side="right"))
    return float(ascending[at]) if at < len(ascending) else math.inf


class ClassSet:
    """Signed items of a batch, float64 [B, P]: leave items positive, enter items negative, sorted when asked.

    Args:
        batch: what to read.
    """

    backend = "cpu"

    def __init__(self, batch: LogitsBatch) -> None:
        b, k, h, w = batch.logits.shape
        self.pixels = h * w
        self.single = k == 1
        inside = np.isin(np.arange(max(k, 2)), batch.inside)
        self.leave_squared, self.enter_squared = squared_lists(batch)
        z, widen = numpy_view(batch.logits)
        labels = label_view(batch.labels, b, self.pixels)
        self._items = np.empty((b, self.pixels))
        pieces = workers(self.pixels, _classes.CHUNK)
        counts = np.empty((b, pieces, 5), dtype=np.int64)
        ignore = NO_LABEL if batch.ignore is None else batch.ignore
        if self.single:
            squared = self.enter_squared
            how = (squared, batch.share, self._items, counts)
            share(_classes.read_class_logit, b * pieces, z, widen, labels, ignore, inside, *how)
        else:
            charge = (self.enter_squared, batch.share, batch.whole_when_wrong, self._items, counts)
            share(_classes.read_class, b * pieces, z, widen, labels, ignore, inside, *charge)
        totals: IntArray = np.add.reduce(counts, axis=1)
        self.tp, self.fp, self.fn, self.tn = (totals[:, j] for j in range(4))
        self.finite = totals[:, 4] == 0
        self._sorted = np.zeros(b, dtype=np.bool_)

    def lists(
        self, image: int, leave: Budget | None = None, enter: Budget | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """See `OneClass.lists`: whole."""
        row = self._items[image]
        if not self._sorted[image]:
            row.sort()
            self._sorted[image] = True
        enters, leaves = int(self.tn[image]), int(self.tp[image])
        return row[enters : enters + leaves], -row[:enters][::-1]

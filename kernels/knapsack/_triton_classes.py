"""One class set at a time on the GPU: a single class on ranked logits, what has no ranks by itself."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch

from robspec.arrays import Array
from robspec.kernels.knapsack import (
    BoolArray,
    FloatArray,
    IntArray,
    LogitsBatch,
    _triton_launch,
    squared_lists,
)
from robspec.kernels.knapsack._margins import BUCKETS
from robspec.kernels.knapsack._within import Within
from robspec.kernels.knapsack.budget import Budget

TILE = 512
"""Pixels of a program that looks at all logits in double: 1024 float64 logits do not fit a thread's registers."""
_SMALL = 255
"""Up to so many classes a class, or that there is none, fits a byte."""
_BITS = 5
"""`BUCKETS` has 2^5 buckets for each power of two, in the places of `_bucket`."""


def prepare_class(batch: LogitsBatch, block: int) -> SingleClass | ClassSet:
    """Read a batch of logits for one class set.

    Args:
        batch: what to read.
        block: pixels of one program; no answer depends on it.
    """
    if isinstance(batch.ranked, Ranked) and len(batch.inside) == 1:
        return SingleClass(batch, batch.ranked, block)
    return ClassSet(batch, block)


class Ranked:
    """The two largest logits of each pixel and the class of the first: 9 bytes a pixel, 17 for float64, 5 for halves.

    From 256 classes on 3 bytes more.

    Args:
        logits: [B, K, H, W], K >= 2.
        block: pixels of one program; no answer depends on it.

    Attributes:
        logits: what was ranked.
        z: the same on the device, bfloat16 as bit patterns.
        first: [B, H * W], dtype of `z`, the largest of each pixel.
        second: as `first`, the second largest; equal where they tie.
        best: [B, H * W], uint8 for up to 255 classes, else int32: the first class that has the largest.
    """

    def __init__(self, logits: Array, block: int) -> None:
        b, k, h, w = logits.shape
        self.logits = logits
        self.z = _triton_launch.logits_on_device(logits)
        self._block = block
        self.first = _triton_launch.scratch((b, h * w), self.z.dtype, self.z.device)
        self.second = _triton_launch.scratch((b, h * w), self.z.dtype, self.z.device)
        self.best = _triton_launch.scratch((b, h * w), torch.uint8 if k <= _SMALL else torch.int32, self.z.device)
        self._bad = torch.zeros(b, dtype=torch.int64, device=self.z.device)
        self._labels: tuple[Array | None, int | None, torch.Tensor] | None = None
        _triton_launch.launch(
            "rank_pixels",
            (-(-h * w // block), b),
            *(self.z, *self.z.stride(), self.first, self.second, self.best, self._bad, w, h * w),
            CLASSES=k,
            FLAT=h == 1 or self.z.stride(2) == w * self.z.stride(3),
            WIDE=self.z.dtype is torch.float64,
            BLOCK=block,
        )

    @cached_property
    def finite(self) -> BoolArray:
        """Bool [B], False where an image's logits hold a NaN or an infinity; reading it waits for the device."""
        finite: BoolArray = self._bad.cpu().numpy() == 0
        return finite

    def labels(self, batch: LogitsBatch) -> torch.Tensor:
        """Give the labels of a batch in the dtype of `best`, made once for all classes that are asked of them.

        Returns:
            [B, H * W]: K where a pixel is left out or its label is that of no class.
        """
        if self._labels is None or self._labels[0] is not batch.labels or self._labels[1] != batch.ignore:
            given, strides = _triton_launch.labels_on_device(batch.labels)
            few = _triton_launch.scratch(self.best.shape, self.best.dtype, given.device)
            pixels = self.best.shape[1]
            _triton_launch.launch(
                "narrow_labels",
                (-(-pixels // self._block), len(few)),
                *(given, *strides, 0 if batch.ignore is None else batch.ignore, few, self.z.shape[3], pixels),
                CLASSES=self.z.shape[1],
                IGNORING=batch.ignore is not None,
                BLOCK=self._block,
            )
            self._labels = batch.labels, batch.ignore, few
        return self._labels[2]


class _Cells:
    """Cells of the confusion matrix, counted on the device in the first four columns of int64 [B, 4 or more]."""

    backend = "triton"
    _counts: torch.Tensor

    @cached_property
    def _totals(self) -> IntArray:
        totals: IntArray = self._counts.cpu().numpy()
        return totals

    @cached_property
    def tp(self) -> IntArray:
        """See `OneClass`; reading it waits for the device, as for the other counts."""
        return self._totals[:, 0]

    @cached_property
    def fp(self) -> IntArray:
        """See `OneClass`."""
        return self._totals[:, 1]

    @cached_property
    def fn(self) -> IntArray:
        """See `OneClass`."""
        return self._totals[:, 2]

    @cached_property
    def tn(self) -> IntArray:
        """See `OneClass`."""
        return self._totals[:, 3]


class SingleClass(_Cells, Within):
    """One class on ranked logits: a price from below of each item at once, the items as far as a budget reaches.

    Prices are kept signed, float64 [B, P], as `ClassSet` keeps its items.

    Args:
        batch: what to read.
        found: the ranks of its logits.
        block: pixels of one program; no answer depends on it.
    """

    single = False

    def __init__(self, batch: LogitsBatch, found: Ranked, block: int) -> None:
        if found.logits is not batch.logits:
            raise ValueError("the ranks are of other logits")
        # Water filling costs less than twice the pair bound; what is charged whole is so in the prices too.
        super().__init__(stretch=2.0 if batch.water else 1.0)
        b, classes, h, w = batch.logits.shape
        self.pixels = h * w
        self.leave_squared, self.enter_squared = squared_lists(batch)
        self._ranked = found
        self._block = block
        device = found.z.device
        self._k = batch.inside[0]
        self._share = torch.tensor([batch.share], dtype=torch.float64, device=device)
        self._seen = found.labels(batch)
        self._width = w
        self._prices = _triton_launch.scratch((b, h * w), torch.float64, device)
        self._histogram = torch.zeros((b, 2, BUCKETS), dtype=torch.int32, device=device)
        self._counts = torch.zeros((b, 4), dtype=torch.int64, device=device)
        self._how = {
            "WHOLE_WHEN_WRONG": batch.whole_when_wrong and batch.share != 1.0,
            "WIDE": found.z.dtype is torch.float64,
        }
        _triton_launch.launch(
            "read_class_ranked",
            (-(-self.pixels // block), b),
            *(found.z, found.z[:, self._k], *found.z.stride(), found.first, found.second, found.best, self._seen),
            *(self._k, self._share, self._prices, self._histogram, self._counts, w, self.pixels),
            CLASSES=classes,
            LEAVE_SQUARED=self.leave_squared,
            ENTER_SQUARED=self.enter_squared,
            BITS=_BITS,
            BLOCK=block,
            **self._how,
        )

    @cached_property
    def finite(self) -> BoolArray:
        """See `OneClass`; reading it waits for the device."""
        return self._ranked.finite

    @cached_property
    def _counted(self) -> IntArray:
        counted: IntArray = self._histogram.cpu().numpy().astype(np.int64)
        return counted

    def _readable(self, image: int) -> bool:
        return bool(self.finite[image])

    def _count(self, image: int) -> IntArray:
        count: IntArray = self._counted[image]
        return count

    def _collect(
        self, image: int, ends: tuple[int, int], _enough: Budget | None
    ) -> tuple[FloatArray, FloatArray, bool]:
        leaves, enters = (int(row[:end].sum()) for row, end in zip(self._counted[image], ends, strict=True))
        device = self._prices.device
        items = _triton_launch.scratch((leaves + enters,), torch.float64, device)
        where = _triton_launch.scratch((leaves + enters,), torch.int32, device)
        cursors = torch.tensor([0, leaves], dtype=torch.int32, device=device)
        if leaves + enters:
            _triton_launch.launch(
                "collect_class",
                (-(-self.pixels // self._block),),
                *(self._prices[image], *ends, cursors, items, where, self.pixels),
                BITS=_BITS,
                BLOCK=self._block,
            )
        if enters and self.enter_squared:
            z, first = self._ranked.z[image], self._ranked.first[image]
            inside = torch.zeros(z.shape[0], dtype=torch.int32, device=device)
            inside[self._k] = 1
            tile = min(self._block, TILE)
            _triton_launch.launch(
                "price_class",
                (-(-enters // tile),),
                *(z, z[self._k], *z.stride(), first, self._seen[image], inside, self._share, where[leaves:]),
                *(items[leaves:], self._width, enters),
                CLASSES=z.shape[0],
                BLOCK=tile,
                **self._how,
            )
        leave, enter = (torch.sort(part).values.cpu().numpy() for part in (items[:leaves], items[leaves:]))
        return leave, enter, True


class ClassSet(_Cells):
    """Signed items of a batch on the device, float64 [B, P]: leave items positive, enter items negative.

    Args:
        batch: what to read.
        block: pixels of one program; no answer depends on it.
    """

    def __init__(self, batch: LogitsBatch, block: int) -> None:
        b, k, h, w = batch.logits.shape
        self.pixels = h * w
        self.single = k == 1
        self.leave_squared, self.enter_squared = squared_lists(batch)
        logits = _triton_launch.logits_on_device(batch.logits)
        labels, label_strides = _triton_launch.labels_on_device(batch.labels)
        device = logits.device
        inside = torch.zeros(max(k, 2), dtype=torch.int32)
        inside[list(batch.inside)] = 1
        self._items = _triton_launch.scratch((b, self.pixels), torch.float64, device)
        self._counts = torch.zeros((b, 5), dtype=torch.int64, device=device)
        tile = min(block, TILE)
        _triton_launch.launch(
            "read_class",
            (-(-self.pixels // tile), b),
            logits,
            *logits.stride(),
            labels,
            *label_strides,
            0 if batch.ignore is None else batch.ignore,
            inside.to(device),
            torch.tensor([batch.share], dtype=torch.float64, device=device),
            self._items,
            self._counts,
            w,
            self.pixels,
            CLASSES=k,
            IGNORING=batch.ignore is not None,
            LEAVE_SQUARED=self.leave_squared,
            ENTER_SQUARED=self.enter_squared,
            ALONE=len(batch.inside) == 1,
            WHOLE_WHEN_WRONG=batch.whole_when_wrong and batch.share != 1.0,
            WIDE=logits.dtype is torch.float64,
            BLOCK=tile,
        )

    @cached_property
    def finite(self) -> BoolArray:
        """See `OneClass`."""
        finite: BoolArray = self._totals[:, 4] == 0
        return finite

    def lists(
        self, image: int, leave: Budget | None = None, enter: Budget | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """See `OneClass.lists`: whole; this image alone is sorted, on the device."""
        row: FloatArray = torch.sort(self._items[image]).values.cpu().numpy()
        enters, leaves = int(self.tn[image]), int(self.tp[image])
        return row[enters : enters + leaves], -row[:enters][::-1]

"""The CPU backend: one threaded pass over the logits, then selections over 8 bytes per pixel.

Memory beyond the inputs is the margins, one double per pixel, reordered in place; histograms and windows are small.
Integer ranges: an item is at most 2^b + 1 units for the grid of `grid_bits`, so P items sum to at most
P (2^b + 1) <= 2^62 + 2^22 < 2^63 for any P below 2^40 pixels (8192 x 8192 is 2^26).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt

from robspec import arrays
from robspec.arrays import Array
from robspec.kernels._threads import share
from robspec.kernels.knapsack import FloatArray, IntArray, Items, LogitsBatch, OneClass, Prepared, _running, _views
from robspec.kernels.knapsack._cpu_late import LatePrepared
from robspec.kernels.knapsack._cpu_whole import WholePrepared
from robspec.kernels.knapsack._pair import LARGE
from robspec.kernels.knapsack._running import counts
from robspec.kernels.knapsack._spending import Sorted, Spending
from robspec.kernels.knapsack._views import NO_LABEL, label_view, numpy_view
from robspec.kernels.knapsack.budget import Budget

_FEW = 2
"""Up to this many budgets are answered by a window search; more of them are worth a sorted prefix."""
_LATER = 2**19
"""Margins of images up to so many pixels are counted when that is asked for, and many budgets answered without it.

Of more items single precision would leave too many answers open.
"""
_ONE_THREAD = 2**15
"""Up to this many items are added up in one thread: waking the others takes longer."""


class _Compiled(Spending):
    """Sums by compiled code, in threads where they are long."""

    def _sum(self, items: FloatArray, budget: Budget) -> int:
        from robspec.kernels.knapsack import _select

        if items.size <= _ONE_THREAD:
            return int(_select.cost(items, budget.exponent, budget.scale, budget.limit))
        sums = np.empty(4 * arrays.threads(), dtype=np.int64)
        share(_select.total, len(sums), items, budget.exponent, budget.scale, budget.limit, sums)
        return int(sums.sum())

    def _changing(self, items: FloatArray, dear: Budget, cheap: Budget) -> tuple[FloatArray | None, int]:
        from robspec.kernels.knapsack import _select

        scales = (dear.exponent, dear.scale, cheap.scale, dear.limit)
        count, fixed = _select.changing(items, *scales, np.empty(0))
        if count > items.size // 8:
            return None, 0
        kept = np.empty(count)
        _select.changing(items, *scales, kept)
        return kept, int(fixed)


class CpuPrepared(Sorted):
    """Margins of a batch, float64 [B, P], and their histogram."""

    backend = "cpu"
    spending = _Compiled

    def __init__(self, batch: LogitsBatch) -> None:
        from robspec.kernels.knapsack import _margins

        b, k, h, w = batch.logits.shape
        self.pixels = h * w
        self.single = k == 1
        every = batch.items is Items.PREDICTED
        z, widen = numpy_view(batch.logits)
        labels = label_view(batch.labels, b, self.pixels)
        workers = _views.workers(self.pixels, _margins.CHUNK)
        self._margins = np.empty((b, self.pixels))
        later = self.pixels <= _LATER
        histogram = np.empty((b, workers, 0 if later else _margins.BUCKETS), dtype=np.int32)
        counts = np.empty((b, workers, 3), dtype=np.int64)
        ignore = NO_LABEL if batch.ignore is None else batch.ignore
        share(_margins.read, b * workers, z, widen, labels, ignore, every, self._margins, histogram, counts)
        totals: IntArray = np.add.reduce(counts, axis=1)
        self.items = totals[:, 0]
        self.valid = np.full(b, self.pixels, dtype=np.int64) if batch.labels is None else totals[:, 1]
        self.finite = totals[:, 2] == 0
        span = -(-self.pixels // (workers * _margins.CHUNK)) * _margins.CHUNK
        self._keep(None if later else histogram, workers, span)

    def _keep(self, histogram: npt.NDArray[np.int32] | None, workers: int, span: int) -> None:
        """Keep how many margins of each bucket every worker met among its `span`, the last one among fewer."""
        self._counted = histogram
        self._workers, self._span = workers, span
        self._ascending = [0] * len(self._margins)

    @property
    def _by_worker(self) -> npt.NDArray[np.int32]:
        """The histogram, counted when first asked for; once margins are reordered its sum alone is of use."""
        if self._counted is None:
            from robspec.kernels.knapsack import _margins

            found = np.empty((len(self._margins), self._workers, _margins.BUCKETS), dtype=np.int32)
            share(_margins.count, len(found) * self._workers, self._margins, self._span, found)
            self._counted = found
        return self._counted

    @cached_property
    def _histogram(self) -> IntArray:
        """Items of each image in each bucket."""
        found: IntArray = np.add.reduce(self._by_worker, axis=1, dtype=np.int64)
        return found

    @staticmethod
    def of_margins(
        margins: FloatArray,
        histogram: npt.NDArray[np.int32],
        items: IntArray,
        valid: IntArray,
        span: int,
        *,
        pixels: int,
        single: bool,
    ) -> CpuPrepared:
        """Take margins that something else computed.

        Args:
            margins: float64 [B, N], not negative, NaN where there is no item; reordered in place.
            histogram: int32 [B, workers, BUCKETS], items per bucket of margins.
            items: int64 [B].
            valid: int64 [B].
            span: how many margins each worker looked at, the last ones fewer or none.
            pixels: of one image, at most N.
            single: True for a single-logit head.
        """
        made = CpuPrepared.__new__(CpuPrepared)
        made._margins, made.items, made.valid = margins, items, valid
        made.pixels, made.single, made.finite = pixels, single, np.ones(len(items), np.bool_)
        made._keep(histogram, histogram.shape[1], span)
        return made

    def flips(self, budgets: Sequence[Budget]) -> IntArray:
        """See `Prepared.flips`."""
        out = np.zeros((len(self.items), len(budgets)), dtype=np.int64)
        summed = [m for m, budget in enumerate(budgets) if budget.exponent]
        alone = [m for m in range(len(budgets)) if not budgets[m].exponent] if len(summed) < len(budgets) else []
        for i in np.flatnonzero(self.finite).tolist():
            for m in alone:
                out[i, m] = int(np.count_nonzero(self._margins[i] <= budgets[m].scale))
            if len(summed) <= _FEW:
                for m in summed:
                    out[i, m] = self._count_in_window(i, budgets[m])
        if len(summed) > _FEW:
            self._count_many(summed, [budgets[m] for m in summed], out)
        return out

    def _count_many(self, places: list[int], budgets: Sequence[Budget], out: IntArray) -> None:
        """Answer many budgets by the cheapest margins of each image, in order."""
        from robspec.kernels.knapsack._histogram import ends

        room = np.empty(self._margins.shape[1] + 1)
        gathered = _running.enclosed(budgets, self.pixels)
        found = np.empty(len(budgets), dtype=np.int64)
        for i in np.flatnonzero(self.finite).tolist():
            if self._counted is not None or not self._guessed(i, gathered, budgets, room, found):
                ((rank, edge),) = ends(self._histogram[i : i + 1], budgets)
                cheapest = self._below(i, rank, edge, room)
                found = counts(cheapest, budgets, partial(self._fitting, cheapest))
            out[i, places] = found

    def _fitting(self, ascending: FloatArray, budget: Budget) -> int:
        return int(self._count_in_prefix(ascending, [budget])[0])

    def _guessed(
        self,
        image: int,
        gathered: list[tuple[_running.Asked, tuple[FloatArray, FloatArray]]],
        budgets: Sequence[Budget],
        room: FloatArray,
        out: IntArray,
    ) -> bool:
        """Count what budgets reach without a histogram: it is guessed how far they do, and seen whether they did.

        Margins are sorted in single precision, which takes half the time and leaves few answers open.

        Args:
            image: its index.
            gathered: the budgets, by exponent, and what encloses their answers.
            budgets: the same, as they were given.
            room: [P + 1], overwritten.
            out: [M], overwritten.

        Returns:
            Whether the guess reached far enough, so that the counts hold.
        """
        from robspec.kernels.knapsack import _select
        from robspec.kernels.knapsack._histogram import edges
        from robspec.kernels.knapsack._margins import BUCKET_BASE, BUCKET_SHIFT

        row, edge = self._margins[image], 0.0
        for some, _ in gathered:
            for scale, limit in some.largest:
                shape = (edges(), BUCKET_SHIFT, BUCKET_BASE, some.exponent, scale, limit)
                edge = max(edge, _select.guess(row, *shape))
        if self._ascending[image] or not math.isfinite(edge):
            return False
        short = room.view(np.float32)
        cheapest = short[: _select.between(row, row.view(np.int64), 0.0, edge, short)]
        cheapest.sort()
        blocks, open_ = np.empty(len(cheapest) // _select.SUMMED + 1), []
        for some, ends in gathered:
            least, beyond = np.empty((2, len(some.places)), dtype=np.int64)
            _select.enclose(cheapest, some.exponent, *ends, blocks, least, beyond)
            if int(beyond.max(initial=0)) >= len(cheapest):
                return False
            out[some.places] = least
            open_ += some.places[least != beyond].tolist()
        if open_:
            exact = room[: _select.between(row, row.view(np.int64), 0.0, edge, room)]
            exact.sort()
            out[open_] = self._count_in_prefix(exact, [budgets[m] for m in open_])
        return True

    def _below(self, image: int, rank: int, edge: float, room: FloatArray) -> FloatArray:
        """The margins below an edge, `rank` of them as they were counted (or more), ascending; perhaps in `room`."""
        from robspec.kernels.knapsack import _select

        row = self._margins[image]
        if self._ascending[image] or rank >= row.size // 2 or not math.isfinite(edge):
            return self._prefix(image, rank)
        found = _select.between(row, row.view(np.int64), 0.0, edge, room)
        if found != rank:
            raise RuntimeError("the margins are not those that were counted")
        cheapest = room[:found]
        cheapest.sort()
        return cheapest

    def _prefix(self, image: int, rank: int) -> FloatArray:
        """The `rank` smallest margins (or more), ascending, sorted in place and remembered."""
        row = self._margins[image]
        if self._ascending[image] < rank:
            if rank < row.size // 2:
                row.partition(rank - 1)
                row[:rank].sort()
            else:
                rank = int(self.items[image])
                row.sort()
            self._ascending[image] = rank
        prefix: FloatArray = row[: self._ascending[image]]
        return prefix

    def _window(self, image: int, budget: Budget) -> tuple[int, int, float, float]:
        """Bracket the answer from the histogram alone.

        Returns:
            (low rank, high rank, low edge, high edge): items below the low edge, `low rank` of them, all fit the
            budget together; beyond the high edge, after `high rank` items, none does any more.
        """
        from robspec.kernels.knapsack._histogram import edges, window

        count = self._histogram[image]
        first, last = window(count, budget)
        ranks = np.concatenate(([0], np.cumsum(count)))
        return int(ranks[first]), int(ranks[last + 1]), float(edges()[first]), float(edges()[last + 1])

    def _count_in_window(self, image: int, budget: Budget) -> int:
        from robspec.kernels.knapsack import _select
        from robspec.kernels.knapsack._histogram import edges

        low, high, low_edge, high_edge = self._window(image, budget)
        # Once reordered, the margins are no longer where the workers counted them.
        if self._ascending[image] or high - low > self.pixels // 8:
            return int(self._count_in_prefix(self._prefix(image, high), [budget])[0])
        first, last = (int(np.searchsorted(edges(), edge)) for edge in (low_edge, high_edge))
        of_workers = self._by_worker[image, :, first:last].sum(axis=1, dtype=np.int64)
        ends, sums = np.cumsum(of_workers), np.empty(len(of_workers), dtype=np.int64)
        window = np.empty(high - low)
        ask = (budget.exponent, budget.scale, budget.limit)
        row = self._margins[image]
        places = (low_edge, high_edge, *ask, self._span, ends, sums, window)
        if not all(share(_select.split, len(ends), row, row.view(np.int64), *places)):
            raise RuntimeError("the margins are not those that were counted")
        window.sort()
        return low + int(self._count_in_prefix(window, [budget], spent=int(sums.sum()))[0])

    def _count_in_prefix(self, ascending: FloatArray, budgets: Sequence[Budget], spent: int = 0) -> IntArray:
        from robspec.kernels.knapsack import _select

        out = np.empty(len(budgets), dtype=np.int64)
        share(
            _select.count_ascending,
            len(budgets),
            ascending,
            np.array([b.exponent for b in budgets]),
            np.array([b.scale for b in budgets]),
            np.array([b.limit for b in budgets]),
            np.full(len(budgets), spent, dtype=np.int64),
            out,
        )
        return out


class CpuBackend:
    """All cores of this machine."""

    name = "cpu"

    def unavailable(self) -> str | None:
        """See `Backend.unavailable`."""
        try:
            import numba  # noqa: F401
        except ImportError as error:
            return f"numba cannot be imported: {error}"
        return None

    def prepare(self, batch: LogitsBatch) -> Prepared:
        """See `Backend.prepare`."""
        _, classes, h, w = batch.logits.shape
        if (h, w) == (1, 1):
            return WholePrepared(batch)
        return LatePrepared(batch, CpuPrepared) if classes <= 2 and h * w > LARGE else CpuPrepared(batch)

    def prepare_class(self, batch: LogitsBatch) -> OneClass:
        """See `Backend.prepare_class`."""
        from robspec.kernels.knapsack._cpu_classes import prepare_class

        return prepare_class(batch)

    def rank(self, logits: Array) -> object:
        """See `Backend.rank`."""
        from robspec.kernels.knapsack._cpu_classes import Ranked

        return Ranked(logits) if logits.shape[1] > 1 else None


BACKEND = CpuBackend()

"""The CPU backend: one threaded pass over the logits, then selections over 8 bytes per pixel.

Memory beyond the inputs is the margins, one double per pixel, reordered in place; histograms and windows are small.
Integer ranges: an item is at most 2^b + 1 units for the grid of `grid_bits`, so P items sum to at most
P (2^b + 1) <= 2^62 + 2^22 < 2^63 for any P below 2^40 pixels (8192 x 8192 is 2^26).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from robspec.kernels.knapsack import FloatArray, IntArray, Items, LogitsBatch, OneClass, _views
from robspec.kernels.knapsack._cpu_whole import WholePrepared
from robspec.kernels.knapsack._views import NO_LABEL, label_view, numpy_view
from robspec.kernels.knapsack.budget import Budget, grid_bits, round_down
from robspec.kernels.knapsack.search import largest_certifying

_FEW = 2
"""Up to this many budgets are answered by a window search; more of them are worth a sorted prefix."""
_ONE_THREAD = 2**15
"""Up to this many items are added up in one thread: waking the others takes longer."""


class CpuPrepared:
    """Margins of a batch, float64 [B, P], and their histogram."""

    backend = "cpu"

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
        histogram = np.empty((b, workers, _margins.BUCKETS), dtype=np.int32)
        counts = np.empty((b, workers, 3), dtype=np.int64)
        ignore = NO_LABEL if batch.ignore is None else batch.ignore
        _margins.read(z, widen, labels, ignore, every, self._margins, histogram, counts)
        totals: IntArray = np.add.reduce(counts, axis=1)
        self.items = totals[:, 0]
        self.valid = np.full(b, self.pixels, dtype=np.int64) if batch.labels is None else totals[:, 1]
        self.finite = totals[:, 2] == 0
        self._count(histogram, -(-self.pixels // (workers * _margins.CHUNK)) * _margins.CHUNK)

    def _count(self, histogram: npt.NDArray[np.int32], span: int) -> None:
        """Keep how many margins of each bucket every worker met among its `span`, the last one among fewer."""
        self._by_worker = histogram
        self._span = span
        self._histogram: IntArray = np.add.reduce(histogram, axis=1, dtype=np.int64)
        self._ascending = [0] * len(self._margins)

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
        made._count(histogram, span)
        return made

    def flips(self, budgets: Sequence[Budget]) -> IntArray:
        """See `Prepared.flips`."""
        out = np.zeros((len(self.items), len(budgets)), dtype=np.int64)
        summed = [m for m, budget in enumerate(budgets) if budget.exponent]
        for i in np.flatnonzero(self.finite).tolist():
            for m, budget in enumerate(budgets):
                if not budget.exponent:
                    out[i, m] = int(np.count_nonzero(self._margins[i] <= budget.scale))
            if len(summed) <= _FEW and not self._ascending[i]:
                for m in summed:
                    out[i, m] = self._count_in_window(i, budgets[m])
            elif summed:
                asked = [budgets[m] for m in summed]
                rank = max(self._window(i, budget)[1] for budget in asked)
                out[i, summed] = self._count_in_prefix(self._prefix(i, rank), asked)
        return out

    def radii(self, flips: IntArray, constant: Fraction, norm: Fraction | None) -> FloatArray:
        """See `Prepared.radii`."""
        out = np.zeros(flips.shape, dtype=np.float64)
        for i in np.flatnonzero(self.finite).tolist():
            for t, wanted in enumerate(flips[i].tolist()):
                out[i, t] = self._radius(i, wanted, constant, norm)
        return out

    def _radius(self, image: int, wanted: int, constant: Fraction, norm: Fraction | None) -> float:
        if wanted <= 0:
            return 0.0
        if wanted > self.items[image]:
            return math.inf
        cheapest = self._prefix(image, wanted)[:wanted]
        if constant == 0:
            return math.inf if cheapest[-1] > 0 else 0.0

        spending = _Spending(cheapest, constant, norm, self.pixels, self.single)
        guess = _distance(cheapest, norm, self.single, self.pixels) / max(round_down(constant), math.ulp(0.0))
        return largest_certifying(spending.certifies, guess, spending.narrow)

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
        if not _select.split(row, row.view(np.int64), low_edge, high_edge, *ask, self._span, ends, sums, window):
            raise RuntimeError("the margins are not those that were counted")
        window.sort()
        return low + int(self._count_in_prefix(window, [budget], spent=int(sums.sum()))[0])

    def _count_in_prefix(self, ascending: FloatArray, budgets: Sequence[Budget], spent: int = 0) -> IntArray:
        from robspec.kernels.knapsack import _select

        out = np.empty(len(budgets), dtype=np.int64)
        _select.count_ascending(
            ascending,
            np.array([b.exponent for b in budgets]),
            np.array([b.scale for b in budgets]),
            np.array([b.limit for b in budgets]),
            np.full(len(budgets), spent, dtype=np.int64),
            out,
        )
        return out


class _Spending:
    """What a fixed set of items costs at one budget after another.

    Args:
        items: ascending margins, all of which must flip.
        constant: as in `Prepared.radii`, above 0.
        norm: as there.
        pixels: pixels of the image.
        single: True for a single-logit head.
    """

    def __init__(
        self, items: FloatArray, constant: Fraction, norm: Fraction | None, pixels: int, single: bool
    ) -> None:
        self._dearest = float(items[-1])
        self._varying = items
        self._fixed = 0
        self._to_budget = partial(Budget.of, constant=constant, norm=norm, pixels=pixels, single=single)

    def certifies(self, eps: float) -> bool:
        """Tell whether a ball cannot pay for all items."""
        budget = self._to_budget(Fraction(eps))
        if not budget.exponent:
            return not self._dearest <= budget.scale
        return self._fixed + self._sum(budget) > budget.limit

    def narrow(self, low: float, high: float) -> None:
        """Set aside the items that cost the same at both budgets, hence at all between, as costs are monotone."""
        from robspec.kernels.knapsack import _select

        dear, cheap = self._to_budget(Fraction(low)), self._to_budget(Fraction(high))
        if not dear.exponent:
            return
        scales = (dear.exponent, dear.scale, cheap.scale, dear.limit)
        count, fixed = _select.changing(self._varying, *scales, np.empty(0))
        if count <= self._varying.size // 8:
            kept = np.empty(count)
            _select.changing(self._varying, *scales, kept)
            self._varying = kept
            self._fixed += int(fixed)

    def _sum(self, budget: Budget) -> int:
        from robspec.kernels.knapsack import _select

        if self._varying.size <= _ONE_THREAD:
            return int(_select.cost(self._varying, budget.exponent, budget.scale, budget.limit))
        sums = np.empty(4 * torch.get_num_threads(), dtype=np.int64)
        _select.total(self._varying, budget.exponent, budget.scale, budget.limit, sums)
        return int(sums.sum())


def _distance(cheapest: FloatArray, norm: Fraction | None, single: bool, pixels: int) -> float:
    """Guess the logits' distance at which all given items flip; only the search's speed depends on it."""
    if norm is None:
        return float(cheapest[-1]) / (1 if single else 2)
    # Rounding down takes half a unit off each item on average.
    rounding = 1 + cheapest.size / 2 ** (grid_bits(pixels) + 1)
    with np.errstate(over="ignore", under="ignore"):
        if norm == 1:
            return float(cheapest.sum() / rounding)
        return float(np.sqrt(np.dot(cheapest, cheapest) / ((1 if single else 2) * rounding)))


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

    def prepare(self, batch: LogitsBatch) -> CpuPrepared | WholePrepared:
        """See `Backend.prepare`."""
        return WholePrepared(batch) if batch.logits.shape[2:] == (1, 1) else CpuPrepared(batch)

    def prepare_class(self, batch: LogitsBatch) -> OneClass:
        """See `Backend.prepare_class`."""
        from robspec.kernels.knapsack._cpu_classes import prepare_class

        return prepare_class(batch)

    def rank(self, logits: torch.Tensor) -> object:
        """See `Backend.rank`."""
        from robspec.kernels.knapsack._cpu_classes import Ranked

        return Ranked(logits) if logits.shape[1] > 1 else None


BACKEND = CpuBackend()

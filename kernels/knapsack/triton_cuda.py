"""The GPU backend: one fused read of the logits in Triton, then a selection without a sort of all pixels.

Memory beyond the inputs is 12 bytes per pixel: the margins (8) and a list of pixel indices (4) for the pixels among
which some answer is decided and, with many budgets, those cheaper than them. The histogram and three arrays like
it take another 64 KiB an image each, an ask 88 bytes. Nothing waits for the device until an answer is read.

Integer ranges, P being the pixels of one image, at most 2^31 - 1 here (8192 x 8192 is 2^26):

* a cost is at most 2^b + 1 units with the b of `grid_bits`: b = 40 for P <= 2^22, else 62 - ceil(log2 P). So any sum
  of costs of different pixels is at most P (2^b + 1) <= 2^62 + 2^22 for P <= 2^22 as for larger P (P 2^b <= 2^62 and
  P < 2^31), below 2^63: sums, running sums over the histogram (each bucket counted at its upper edge) and
  `spent + cost` fit int64;
* counts, places and indices are at most P and fit int32;
* an address is image * stride + class * stride + row * stride + column * stride in int64.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from robspec.arrays import Array
from robspec.kernels.knapsack import FloatArray, IntArray, Items, LogitsBatch, _triton_launch
from robspec.kernels.knapsack.budget import Budget, grid_bits, round_down
from robspec.kernels.knapsack.reference import item_cost
from robspec.kernels.knapsack.search import largest_certifying, largest_certifying_each

if TYPE_CHECKING:
    from robspec.kernels.knapsack._triton_classes import ClassSet, SingleClass

CANDIDATES = 64
"""Radii tried in one launch."""
TOGETHER = (1, 2048)
"""Asks and buckets a program works on at once where a histogram is read; asks run side by side."""
INTERPRETED_TOGETHER = (16, 16384)
"""The same in the interpreter, where one program does as much as it can."""
_TILE = 128
"""Pixels a program of `spend` works on at once; a tile holds this many times `CANDIDATES` costs."""
_LISTED = 512
"""Listed pixels of one program of `add_below`: one warp, so that its sums need no shared memory and no barrier."""


class TritonPrepared:
    """Margins of a batch on the device, float64 [B, P], and their histogram.

    Args:
        batch: what to read.
        block: pixels of one program; no answer depends on it.
        bits: the histogram has 2^bits buckets for each power of two; no answer depends on it.
        many: up to so many sums of an image are made on the way; for more the items that count are listed first.
    """

    backend = "triton"

    def __init__(self, batch: LogitsBatch, block: int, bits: int, many: int) -> None:
        b, k, h, w = batch.logits.shape
        logits = _triton_launch.logits_on_device(batch.logits)
        labels, label_strides = _triton_launch.labels_on_device(batch.labels)
        margins = _triton_launch.scratch((b, h * w), torch.float64, logits.device)
        tables = _tables(b, bits, logits.device)
        self._keep(margins, *tables, block, bits, many, single=k == 1, labelled=batch.labels is not None)
        _triton_launch.launch(
            "read_pixels",
            (-(-self.pixels // block), b),
            logits,
            *logits.stride(),
            labels,
            *label_strides,
            0 if batch.ignore is None else batch.ignore,
            self._margins,
            self._histogram,
            self._counts,
            w,
            self.pixels,
            CLASSES=k,
            LABELLED=self._labelled,
            IGNORING=batch.ignore is not None,
            EVERY=batch.items is Items.PREDICTED,
            FLAT=h == 1 or logits.stride(2) == w * logits.stride(3),
            WIDE=logits.dtype is torch.float64,
            BITS=bits,
            BLOCK=block,
        )

    def _keep(
        self,
        margins: torch.Tensor,
        histogram: torch.Tensor,
        counts: torch.Tensor,
        block: int,
        bits: int,
        many: int,
        *,
        single: bool,
        labelled: bool,
    ) -> None:
        """Take margins, their histogram and counts, which may be written later on; see `TritonBackend.of_margins`."""
        from robspec.kernels.knapsack import _triton_kernels

        self._images, self.pixels = margins.shape
        self.single, self._labelled = single, labelled
        self._margins, self._histogram, self._counts, self._device = margins, histogram, counts, margins.device
        self._block, self._bits, self._many = block, bits, many
        self._buckets = histogram.shape[1]
        self._group, chunk = INTERPRETED_TOGETHER if _triton_kernels.INTERPRETED else TOGETHER
        self._chunk = min(self._buckets, chunk)

    @cached_property
    def _totals(self) -> IntArray:
        totals: IntArray = self._counts.cpu().numpy()
        return totals

    @cached_property
    def items(self) -> IntArray:
        """See `Prepared`; reading it waits for the device."""
        return self._totals[:, 0]

    @cached_property
    def valid(self) -> IntArray:
        """See `Prepared`; reading it waits for the device."""
        return self._totals[:, 1] if self._labelled else np.full(self._images, self.pixels, dtype=np.int64)

    @cached_property
    def finite(self) -> npt.NDArray[np.bool_]:
        """See `Prepared`; reading it waits for the device."""
        finite: npt.NDArray[np.bool_] = self._totals[:, 2] == 0
        return finite

    def flips(self, budgets: Sequence[Budget]) -> IntArray:
        """See `Prepared.flips`."""
        shape = (self._images, len(budgets))
        if not budgets:
            return np.zeros(shape, dtype=np.int64)
        kinds = np.empty(shape, dtype=np.int64)
        scales = np.empty(shape)
        limits = np.empty(shape, dtype=np.int64)
        kinds[:] = [budget.exponent for budget in budgets]
        scales[:] = [budget.scale for budget in budgets]
        limits[:] = [budget.limit for budget in budgets]
        answers: IntArray = self._select(kinds, scales, limits)[0]
        answers[~self.finite] = 0
        return answers

    def radii(self, flips: IntArray, constant: Fraction, norm: Fraction | None) -> FloatArray:
        """See `Prepared.radii`."""
        from robspec.kernels.knapsack import _triton_kernels

        asked = self.finite[:, None] & (flips > 0) & (flips <= self.items[:, None])
        out: FloatArray = np.where(self.finite[:, None] & (flips > self.items[:, None]) & (flips > 0), np.inf, 0.0)
        if not asked.any():
            return out
        rank = np.full(flips.shape, _triton_kernels.RANK.value, dtype=np.int64)
        selected = self._select(rank, np.zeros(flips.shape), np.where(asked, flips - 1, 0))
        dearest = np.where(asked, selected[1], 0).view(np.float64)
        lower = np.where(asked, selected[2], 0)
        if constant == 0:
            out[asked] = np.where(dearest[asked] > 0, np.inf, 0.0)
        elif norm is None:
            for i, t in np.argwhere(asked).tolist():
                out[i, t] = self._largest_of_one(float(dearest[i, t]), constant)
        else:
            out[asked] = self._largest_of_sum(dearest, lower, flips, asked, constant, norm)
        return out

    def _largest_of_one(self, dearest: float, constant: Fraction) -> float:
        """The radius for q = infinity, where only the dearest item matters."""

        def certifies(eps: float) -> bool:
            return not dearest <= Budget.of(Fraction(eps), constant, None, self.pixels, single=self.single).scale

        share = 1 if self.single else 2
        return largest_certifying(certifies, dearest / share / max(round_down(constant), math.ulp(0.0)))

    def _largest_of_sum(
        self,
        dearest: FloatArray,
        lower: IntArray,
        flips: IntArray,
        asked: npt.NDArray[np.bool_],
        constant: Fraction,
        norm: Fraction,
    ) -> FloatArray:
        """The radii for q = 1 and 2: every round tries many budgets at once, each summed exactly.

        Args:
            dearest: [B, T], the margin of the dearest item that must flip.
            lower: [B, T], how many items are strictly cheaper.
            flips: [B, T], how many items must flip.
            asked: [B, T], which of these matter.
            constant: as in `radii`.
            norm: 1 or 2.
        """
        equal = (flips - lower)[asked].tolist()
        margins = dearest[asked].tolist()
        edges = torch.from_numpy(dearest).to(self._device)
        limit = 2 ** grid_bits(self.pixels)

        def spent(scales: FloatArray) -> IntArray:
            every = np.zeros((*flips.shape, CANDIDATES))
            every[asked] = scales
            return self._spend(edges, every, limit, int(norm))[asked]

        def certify(eps: FloatArray) -> npt.NDArray[np.bool_]:
            budgets = [
                [Budget.of(Fraction(e), constant, norm, self.pixels, single=self.single) for e in row]
                for row in eps.tolist()
            ]
            sums = spent(np.array([[budget.scale if budget.exponent else 0.0 for budget in row] for row in budgets]))
            out = np.zeros(eps.shape, dtype=np.bool_)
            for n, row in enumerate(budgets):
                for c, budget in enumerate(row):
                    if budget.exponent:
                        out[n, c] = int(sums[n, c]) + equal[n] * item_cost(margins[n], budget) > budget.limit
                    else:
                        # No positive budget: what is free flips, and the dearest decides whether all are.
                        out[n, c] = margins[n] > 0
            return out

        with np.errstate(all="ignore"):
            unit = limit / dearest[asked] ** int(norm)
        unit = np.where(np.isfinite(unit), unit, 0.0)
        sums = spent(np.repeat(unit[:, None], CANDIDATES, axis=1))[:, 0]
        guesses = np.zeros(len(equal))
        for n, d in enumerate(margins):
            parts = int(sums[n]) / limit + equal[n]
            if norm == 2:
                parts = math.sqrt(parts / (1 if self.single else 2))
            # Each item loses half a unit on average when it is rounded down.
            rounding = 1 + (int(sums[n] > 0) * float(flips[asked][n]) / 2) / limit
            guesses[n] = d * parts / rounding ** (1 / int(norm)) / max(round_down(constant), math.ulp(0.0))
        return largest_certifying_each(certify, guesses, CANDIDATES)

    def _select(self, kinds: IntArray, scales: FloatArray, limits: IntArray) -> IntArray:
        """Answer asks, [B, M] each, without waiting until the end; returns int64 [3, B, M] as `finish` does."""
        b, asks = kinds.shape
        on = self._device
        listing = int((kinds > 0).sum(axis=1).max()) > self._many
        k, s, m = (torch.from_numpy(a).to(on, non_blocking=True) for a in (kinds, scales, limits))
        needed = torch.zeros((b, self._buckets), dtype=torch.int32, device=on)
        places = _triton_launch.scratch((b, self._buckets), torch.int32, on)
        cursors = _triton_launch.scratch((b, self._buckets), torch.int32, on)
        indices = _triton_launch.scratch((b, self.pixels), torch.int32, on)
        state = _triton_launch.scratch((5, b * asks), torch.int64, on)
        answers = _triton_launch.scratch((3, b * asks), torch.int64, on)
        sizes = {"BITS": self._bits, "CHUNK": self._chunk}
        tiles = {"BITS": self._bits, "BLOCK": self._block}
        _triton_launch.launch(
            "bracket",
            (b, -(-asks // self._group)),
            *(self._histogram, k, s, m, needed, state, asks),
            LISTING=listing,
            GROUP=self._group,
            **sizes,
        )
        _triton_launch.launch("offsets", (b,), self._histogram, needed, places, cursors, **sizes)
        blocks = -(-self.pixels // self._block)
        _triton_launch.launch(
            "below",
            (blocks, b),
            *(self._margins, needed, cursors, indices, k, s, state, self.pixels, asks),
            LISTING=listing,
            **tiles,
        )
        listed = min(self._block, _LISTED)
        for exponent in (1, 2):
            if listing and (kinds == exponent).any():
                _triton_launch.launch(
                    "add_below",
                    (-(-self.pixels // listed), b),
                    *(self._margins, places, indices, k, s, state, self.pixels, asks),
                    EXPONENT=exponent,
                    BITS=self._bits,
                    BLOCK=listed,
                    num_warps=1,
                )
        _triton_launch.launch(
            "finish",
            (b, asks),
            *(self._margins, self._histogram, places, indices, k, s, m, state, answers, self.pixels, asks),
            **tiles,
        )
        result: IntArray = answers.cpu().numpy().reshape(3, b, asks)
        return result

    def _spend(self, edges: torch.Tensor, scales: FloatArray, limit: int, exponent: int) -> IntArray:
        b, targets, candidates = scales.shape
        sums = torch.zeros((b, targets, candidates), dtype=torch.int64, device=self._device)
        tile = min(self._block, _TILE)
        _triton_launch.launch(
            "spend",
            (-(-self.pixels // tile), b),
            *(self._margins, edges, torch.from_numpy(scales).to(self._device), limit, sums, self.pixels, targets),
            EXPONENT=exponent,
            CANDIDATES=candidates,
            BLOCK=tile,
        )
        result: IntArray = sums.cpu().numpy()
        return result


def _tables(images: int, bits: int, on: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    from robspec.kernels.knapsack import _triton_kernels

    histogram = torch.zeros((images, _triton_kernels.OCTAVES.value << bits), dtype=torch.int32, device=on)
    return histogram, torch.zeros((images, 3), dtype=torch.int64, device=on)


class TritonBackend:
    """One CUDA device, or the Triton interpreter.

    Args:
        block: pixels of one program, a power of two.
        bits: the margins' histogram has 2^bits buckets for each power of two, at least 2. The default makes the runs
            among which answers are decided about a hundredth of an image; each bucket costs 4 bytes an image.
        many: up to so many budgets of an image are each summed over all its pixels; for more, the items that some
            budget can pay for are listed by bucket, and each budget is summed over those below its own run.
    """

    name = "triton"

    def __init__(self, block: int = 1024, bits: int = 8, many: int = 8) -> None:
        self._block = block
        self.bits = bits
        self._many = many

    def unavailable(self) -> str | None:
        """See `Backend.unavailable`."""
        try:
            importlib.import_module("triton")
        except ModuleNotFoundError as error:
            if error.name != "triton":
                raise
            return f"triton is not installed: {error}"
        from robspec.kernels.knapsack import _triton_kernels

        if torch.cuda.is_available() or _triton_kernels.INTERPRETED:
            return None
        return "no CUDA device is there, and TRITON_INTERPRET=1 is not set to interpret the kernels on the CPU"

    def prepare(self, batch: LogitsBatch) -> TritonPrepared:
        """See `Backend.prepare`."""
        return TritonPrepared(batch, self._block, self.bits, self._many)

    def tables(self, images: int, on: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Make what `read_pixels`, or another kernel that computes margins, adds to: histogram and counts."""
        return _tables(images, self.bits, on)

    def of_margins(
        self, margins: torch.Tensor, histogram: torch.Tensor, counts: torch.Tensor, *, single: bool, labelled: bool
    ) -> TritonPrepared:
        """Take margins that another kernel computes.

        Args:
            margins: float64 [B, P], not negative, NaN where a pixel is no item.
            histogram: of `tables`, items per bucket of margins.
            counts: of `tables`.
            single: True for a single-logit head.
            labelled: whether `counts` tells how many pixels are not ignored; all of them, otherwise.
        """
        made = TritonPrepared.__new__(TritonPrepared)
        how = (self._block, self.bits, self._many)
        made._keep(margins, histogram, counts, *how, single=single, labelled=labelled)
        return made

    def prepare_class(self, batch: LogitsBatch) -> SingleClass | ClassSet:
        """See `Backend.prepare_class`."""
        from robspec.kernels.knapsack._triton_classes import prepare_class

        return prepare_class(batch, self._block)

    def rank(self, logits: Array) -> object:
        """See `Backend.rank`."""
        from robspec.kernels.knapsack._triton_classes import Ranked

        return Ranked(logits, self._block) if logits.shape[1] > 1 else None


BACKEND = TritonBackend()

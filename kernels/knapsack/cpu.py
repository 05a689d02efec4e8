"""The CPU backend: one threaded pass over the logits (numba), then a selection over 8 bytes per pixel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from robspec.kernels.knapsack import FloatArray, IntArray, Items, LogitsBatch
from robspec.kernels.knapsack.budget import Budget, round_down
from robspec.kernels.knapsack.search import largest_certifying


class CpuPrepared:
    """Margins of a batch, float64 [B, P], sorted per image when first asked."""

    backend = "cpu"

    def __init__(self, batch: LogitsBatch) -> None:
        b, k, h, w = batch.logits.shape
        self.pixels = h * w
        self.single = k == 1
        self._margins = np.full((b, h * w), np.nan)
        self._sorted: dict[int, FloatArray] = {}
        logits, labels = _flat(batch.logits), None if batch.labels is None else _labels(batch.labels)
        if self.single:
            self.finite, self.valid = self._read_single(logits, labels, batch)
        else:
            self.finite, self.valid = self._read(logits, labels, batch)
        self.items = np.count_nonzero(~np.isnan(self._margins), axis=1).astype(np.int64)

    def _read(
        self, z: npt.NDArray[Any], labels: IntArray | None, batch: LogitsBatch
    ) -> tuple[npt.NDArray[np.bool_], IntArray]:
        from robspec.kernels.knapsack import _margins

        chunks = -(-self.pixels // _margins.CHUNK)
        finite = np.zeros((len(z), chunks), dtype=np.bool_)
        if batch.items is Items.PREDICTED or labels is None:
            _margins.margins_to_prediction(z, self._margins, finite)
            return _every(finite), np.full(len(z), self.pixels, dtype=np.int64)
        valid = np.zeros((len(z), chunks), dtype=np.int64)
        ignore = -(2**62) if batch.ignore is None else batch.ignore
        _margins.margins_to_labels(z, labels, ignore, self._margins, finite, valid)
        return _every(finite), np.add.reduce(valid, axis=1)

    def _read_single(
        self, z: npt.NDArray[Any], labels: IntArray | None, batch: LogitsBatch
    ) -> tuple[npt.NDArray[np.bool_], IntArray]:
        logit = z[:, 0].astype(np.float64)
        finite = _every(np.isfinite(logit))
        if batch.items is Items.PREDICTED or labels is None:
            self._margins[:] = np.abs(logit)
            return finite, np.full(len(z), self.pixels, dtype=np.int64)
        counted = np.ones(labels.shape, dtype=np.bool_) if batch.ignore is None else labels != batch.ignore
        correct = counted & (labels == (logit > 0))
        self._margins[correct] = np.abs(logit[correct])
        return finite, np.add.reduce(counted, axis=1, dtype=np.int64)

    def _ascending(self, image: int) -> FloatArray:
        if image not in self._sorted:
            row = self._margins[image]
            row.sort()
            self._sorted[image] = row[: int(self.items[image])]
        return self._sorted[image]

    def flips(self, budgets: Sequence[Budget]) -> IntArray:
        """See `Prepared.flips`."""
        out = np.zeros((len(self.items), len(budgets)), dtype=np.int64)
        for i in np.flatnonzero(self.finite):
            for m, budget in enumerate(budgets):
                out[i, m] = _count(self._ascending(int(i)), budget)
        return out

    def radii(self, flips: IntArray, constant: Fraction, norm: Fraction | None) -> FloatArray:
        """See `Prepared.radii`."""
        out = np.zeros(flips.shape, dtype=np.float64)
        for i in np.flatnonzero(self.finite):
            for t, wanted in enumerate(flips[i].tolist()):
                out[i, t] = self._radius(self._ascending(int(i)), wanted, constant, norm)
        return out

    def _radius(self, margins: FloatArray, wanted: int, constant: Fraction, norm: Fraction | None) -> float:
        if wanted <= 0:
            return 0.0
        if wanted > margins.size:
            return math.inf
        cheapest = margins[:wanted]
        if constant == 0:
            return math.inf if cheapest[-1] > 0 else 0.0

        def certifies(eps: float) -> bool:
            budget = Budget.of(Fraction(eps), constant, norm, self.pixels, single=self.single)
            return _count(cheapest, budget) < wanted

        return largest_certifying(certifies, _estimate(cheapest, norm, self.single) / round_down(constant))


def _estimate(cheapest: FloatArray, norm: Fraction | None, single: bool) -> float:
    """Guess the logits' distance at which all given items flip; only the search's speed depends on it."""
    with np.errstate(over="ignore", under="ignore"):
        if norm is None:
            return float(cheapest[-1]) / (1 if single else 2)
        if norm == 1:
            return float(cheapest.sum())
        return float(np.sqrt(np.dot(cheapest, cheapest) / (1 if single else 2)))


def _count(margins: FloatArray, budget: Budget) -> int:
    if budget.exponent == 0:
        return int(np.searchsorted(margins, budget.scale, side="right"))
    from robspec.kernels.knapsack import _margins

    return int(_margins.count_sorted(margins, budget.exponent, budget.scale, budget.limit))


def _every(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Reduce each row with logical and."""
    rows: npt.NDArray[np.bool_] = np.logical_and.reduce(flags, axis=1)
    return rows


def _flat(logits: torch.Tensor) -> npt.NDArray[Any]:
    """View logits as a numpy [B, K, P]; half precisions are widened to float32, which is exact."""
    tensor = logits.detach()
    if tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.to(torch.float32)
    array: npt.NDArray[Any] = tensor.contiguous().flatten(2).cpu().numpy()
    return array


def _labels(labels: torch.Tensor) -> IntArray:
    array: IntArray = labels.detach().contiguous().flatten(1).cpu().numpy()
    return array


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

    def prepare(self, batch: LogitsBatch) -> CpuPrepared:
        """See `Backend.prepare`."""
        return CpuPrepared(batch)


BACKEND = CpuBackend()

"""Whole images on the CPU: one item each, so that nothing is sorted, shared or counted in a histogram."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from robspec import arrays
from robspec.kernels._threads import share
from robspec.kernels.knapsack import FloatArray, IntArray, Items, LogitsBatch
from robspec.kernels.knapsack._views import NO_LABEL, label_view
from robspec.kernels.knapsack.budget import Budget, costs, round_down
from robspec.kernels.knapsack.reference import item_cost
from robspec.kernels.knapsack.search import largest_certifying


class WholePrepared:
    """Margins of a batch of images that are one item each, float64 [B].

    Args:
        batch: [B, K, 1, 1].
    """

    backend = "cpu"
    pixels = 1

    def __init__(self, batch: LogitsBatch) -> None:
        from robspec.kernels.knapsack import _rows

        b, k, _, _ = batch.logits.shape
        self.single = k == 1
        wide = arrays.kind(batch.logits) in ("float32", "float64")
        logits = arrays.host(batch.logits) if wide else arrays.doubles(batch.logits).astype(np.float32)
        labels = label_view(batch.labels, b, 1).reshape(-1)
        every = batch.items is Items.PREDICTED
        ignore = NO_LABEL if batch.ignore is None else batch.ignore
        self._margins, kept = np.empty(b), np.empty(b, dtype=np.bool_)
        self.finite = np.empty(b, dtype=np.bool_)
        z = np.ascontiguousarray(logits.reshape(b, k))
        bits = z.view(np.int32 if z.dtype == np.float32 else np.int64)
        share(_rows.read, -(-b // _rows.ROWS), z, bits, labels, ignore, every, self._margins, kept, self.finite)
        self.items = (~np.isnan(self._margins) & self.finite).astype(np.int64)
        self.valid = kept.astype(np.int64)

    def flips(self, budgets: Sequence[Budget]) -> IntArray:
        """See `Prepared.flips`."""
        out = np.empty((len(self._margins), len(budgets)), dtype=np.int64)
        for m, budget in enumerate(budgets):
            out[:, m] = self._affordable(budget)
        return out

    def radii(self, flips: IntArray, constant: Fraction, norm: Fraction | None) -> FloatArray:
        """See `Prepared.radii`."""
        out = np.zeros(flips.shape, dtype=np.float64)
        for i in np.flatnonzero(self.finite).tolist():
            radius = self._radius(i, constant, norm) if (flips[i] == 1).any() else 0.0
            for t, wanted in enumerate(flips[i].tolist()):
                out[i, t] = 0.0 if wanted <= 0 else math.inf if wanted > self.items[i] else radius
        return out

    def _affordable(self, budget: Budget) -> IntArray:
        """1 for each image whose item fits the budget."""
        d = self._margins
        fits = costs(d, budget) <= budget.limit if budget.exponent else d <= budget.scale
        fits &= ~np.isnan(d)
        return (fits & self.finite).astype(np.int64)

    def _radius(self, image: int, constant: Fraction, norm: Fraction | None) -> float:
        d = float(self._margins[image])
        if math.isnan(d):
            return math.inf
        if constant == 0:
            return math.inf if d > 0 else 0.0

        def certifies(eps: float) -> bool:
            budget = Budget.of(Fraction(eps), constant, norm, 1, single=self.single)
            return item_cost(d, budget) > budget.limit

        share = 1.0 if self.single else {None: 0.5, 1: 1.0, 2: 0.5**0.5}[None if norm is None else int(norm)]
        return largest_certifying(certifies, d * share / max(round_down(constant), math.ulp(0.0)))

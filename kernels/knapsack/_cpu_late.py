"""Accuracy and stability of large images of two classes: read once for one budget, and in full for anything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np

from robspec.kernels.knapsack import BoolArray, FloatArray, IntArray, Items, LogitsBatch, Prepared
from robspec.kernels.knapsack._pair import BEYOND, PASSES, Pair, around
from robspec.kernels.knapsack.budget import Budget, costs

_NOTHING = Budget(1, 1.0, 0)
"""For what is asked of no budget."""


class LatePrepared:
    """A batch that is read when something is asked of it.

    Args:
        batch: K is 1 or 2.
        whole: reads the batch in full.
    """

    backend = "cpu"

    def __init__(self, batch: LogitsBatch, whole: Callable[[LogitsBatch], Prepared]) -> None:
        from robspec.kernels.knapsack import _two

        self._batch, self._whole = batch, whole
        self._k = _two.ANY if batch.items is Items.PREDICTED else _two.EVERY
        self._pair = Pair(batch)
        self.pixels, self.single = self._pair.pixels, batch.logits.shape[1] == 1
        self._full: Prepared | None = None
        self._seen: IntArray | None = None
        self._passes = 0

    @property
    def items(self) -> IntArray:
        """See `Prepared`, like the next two."""
        return self._counts()[:, 0]

    @property
    def valid(self) -> IntArray:
        """See `Prepared`."""
        return self._counts()[:, 1]

    @property
    def finite(self) -> BoolArray:
        """See `Prepared`."""
        found: BoolArray = self._counts()[:, 2] == 0
        return found

    def flips(self, budgets: Sequence[Budget]) -> IntArray:
        """See `Prepared.flips`."""
        if self._full is None and self._passes < PASSES and len(budgets) == 1 and budgets[0].exponent:
            self._passes += 1
            found = [self._directly(image, budgets[0]) for image in range(self._pair.shape[0])]
            answered = [one for one in found if one is not None]
            if len(answered) == len(found):
                self._seen = np.array([counts for _, counts in answered])
                return np.array([[n] for n, _ in answered], dtype=np.int64)
        return self._read().flips(budgets)

    def radii(self, flips: IntArray, constant: Fraction, norm: Fraction | None) -> FloatArray:
        """See `Prepared.radii`."""
        return self._read().radii(flips, constant, norm)

    def _counts(self) -> IntArray:
        """Items, valid pixels, and whether something is not finite, of each image."""
        if self._seen is None:
            images = range(self._pair.shape[0])
            self._seen = np.array([self._pair.look(image, self._k, [(0, 0)], [_NOTHING])[1] for image in images])
        return self._seen

    def _read(self) -> Prepared:
        if self._full is None:
            self._full = self._whole(self._batch)
        return self._full

    def _directly(self, image: int, budget: Budget) -> tuple[int, IntArray] | None:
        """Count what one budget flips in one pass.

        Returns:
            That, and what `_counts` says of the image; None where the budget ended where it was not looked for.
        """
        (sampled,), stands_for = self._pair.sample(image, self._k)
        (found,), counts = self._pair.look(image, self._k, [around(sampled, stands_for, budget)], [budget])
        if counts[2]:
            return 0, counts
        spent = found.cost + np.cumsum(costs(found.inside, budget))
        more = int(np.searchsorted(spent, budget.limit, side="right"))
        ended = found.cost <= budget.limit and (more < len(found.inside) or found.high == BEYOND)
        return (found.count + more, counts) if ended else None

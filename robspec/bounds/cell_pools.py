"""Ratios pooled over a data set, by cells: every image has its own budget, and all have one value to bring down."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from robspec.bounds._spooled import Lists
from robspec.bounds.cell_ratios import Attack, Spread, Sums
from robspec.bounds.cells import budget_of
from robspec.ir.types import Metric
from robspec.kernels.coarse import CoarseClass
from robspec.kernels.knapsack.budget import Budget
from robspec.semantics.constant import Constant


class CellPool:
    """What cells of one class set may give up on the images of a data set, one of which is in memory at a time.

    Args:
        constant: of the coarse logits, in l2, with their rounding.
        largest: the largest budget that will be asked, None where that is not known.
        lists: where images are put aside.
    """

    def __init__(self, constant: Constant, largest: Fraction | None, lists: Lists) -> None:
        self._constant, self._largest, self._lists = constant, largest, lists
        self._images: list[tuple[Callable[[], CoarseClass], Callable[[Fraction], Budget]]] = []
        self._counts = [0, 0, 0, 0]

    @property
    def images(self) -> int:
        """How many images were taken."""
        return len(self._images)

    def add(self, read: CoarseClass) -> None:
        """Take the images of a batch."""

        def budget(eps: Fraction, pixels: int = read.pixels, single: bool = read.single) -> Budget:
            return budget_of(pixels, self._constant, eps, single=single)

        largest = None if self._largest is None else budget(self._largest)
        for image, counts in enumerate(read.counts.tolist()):
            self._images.append((read.stored(image, largest, self._lists.keep), budget))
            self._counts = [a + b for a, b in zip(self._counts, counts, strict=True)]

    def better(self, metric: Metric, eps: Fraction, known: Fraction, clean: Fraction) -> Fraction:
        """Give the better of what is certified and what cells certify.

        Args:
            metric: a quotient of two sums of counts of the class set.
            eps: the budget of each image.
            known: certified within it.
            clean: the clean value, which no bound is better than.
        """
        if known == clean:
            return known
        sign = -1 if metric.lower_is_better else 1
        spreads = [Spread(read, 0, budget(eps)) for read, budget in self._images]
        found = Attack(Sums(metric, self._counts), spreads).least()
        return known if found is None else sign * max(sign * known, min(found, sign * clean))

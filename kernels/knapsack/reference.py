"""The definition of the knapsack bound in plain Python: doubles as IEEE 754 has them, sums in exact integers.

Slow on purpose and short enough to check by eye; every other backend must equal it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate

import numpy as np

from robspec import arrays
from robspec.arrays import Array
from robspec.kernels.knapsack import FloatArray, IntArray, Items, LogitsBatch, squared_lists
from robspec.kernels.knapsack.budget import Budget
from robspec.kernels.knapsack.search import largest_certifying


def margin(logits: Sequence[float], reference: int) -> float:
    """Compute how far a pixel is from leaving a class.

    Args:
        logits: the pixel's K logits, upcast to double; K = 1 is a single logit with threshold 0.
        reference: the class it is in.

    Returns:
        d = z_reference - max of the others, one double subtraction; negative where another class is ahead, and
        for a single logit the distance |z| to the threshold.

    Source: MATH.md section 2.
    """
    if len(logits) == 1:
        return abs(logits[0])
    others = [z for j, z in enumerate(logits) if j != reference]
    return logits[reference] - max(others)


def prediction(logits: Sequence[float]) -> int:
    """Predict the first index of the maximum; for a single logit, class 1 where it is above 0."""
    if len(logits) == 1:
        return int(logits[0] > 0)
    return list(logits).index(max(logits))


def item_cost(d: float, budget: Budget) -> int:
    """Convert a margin into integer grid units, rounding down; above the limit it is unaffordable.

    Source: MATH.md section 6.
    """
    if budget.exponent == 0:
        return 0 if d <= budget.scale else budget.limit + 1
    cost = d * d * budget.scale if budget.exponent == 2 else d * budget.scale
    if cost >= budget.limit + 1:
        return budget.limit + 1
    return int(cost) if cost >= 0 else 0


def count_flips(margins: Sequence[float], budget: Budget) -> int:
    """Count how many of the cheapest items fit the budget together."""
    spent = flips = 0
    for cost in sorted(item_cost(d, budget) for d in margins):
        spent += cost
        if spent > budget.limit:
            break
        flips += 1
    return flips


class ReferencePrepared:
    """Margins of a batch as lists of doubles."""

    backend = "reference"

    def __init__(self, batch: LogitsBatch) -> None:
        b, k, h, w = batch.logits.shape
        self.pixels = h * w
        self.single = k == 1
        rows = arrays.doubles(batch.logits).transpose(0, 2, 3, 1).reshape(b, h * w, k).tolist()
        self.finite = np.array([all(math.isfinite(z) for pixel in image for z in pixel) for image in rows])
        self._margins: list[list[float]] = []
        valid: list[int] = []
        for i, image in enumerate(rows):
            if batch.items is Items.PREDICTED:
                labels = [0] * (h * w) if batch.labels is None else batch.labels[i].reshape(-1).tolist()
                ignore = None if batch.labels is None else batch.ignore
                references: list[int | None] = [
                    prediction(pixel) if y != ignore else None for y, pixel in zip(labels, image, strict=True)
                ]
                counted = sum(y != ignore for y in labels)
            else:
                if batch.labels is None:
                    raise ValueError("labels are needed")
                labels = batch.labels[i].reshape(-1).tolist()
                references = [
                    y if y != batch.ignore and y == prediction(pixel) else None
                    for y, pixel in zip(labels, image, strict=True)
                ]
                counted = sum(y != batch.ignore for y in labels)
            pairs = zip(image, references, strict=True)
            self._margins.append([margin(pixel, y) for pixel, y in pairs if y is not None])
            valid.append(counted)
        self._count(valid)

    def _count(self, valid: Sequence[int]) -> None:
        self.items = np.array([len(m) for m in self._margins], dtype=np.int64)
        self.valid = np.array(valid, dtype=np.int64)

    @staticmethod
    def of_margins(
        margins: list[list[float]], valid: Sequence[int], *, pixels: int, single: bool
    ) -> ReferencePrepared:
        """Take margins that something else computed.

        Args:
            margins: of each image's items, not negative.
            valid: of each image, how many pixels count.
            pixels: of one image.
            single: True for a single-logit head.
        """
        made = ReferencePrepared.__new__(ReferencePrepared)
        made._margins, made.pixels, made.single = margins, pixels, single
        made.finite = np.ones(len(margins), np.bool_)
        made._count(valid)
        return made

    def flips(self, budgets: Sequence[Budget]) -> IntArray:
        """See `Prepared.flips`."""
        counts = [[count_flips(margins, budget) for budget in budgets] for margins in self._margins]
        return np.array(counts, dtype=np.int64).reshape(len(self._margins), len(budgets))

    def radii(self, flips: IntArray, constant: Fraction, norm: Fraction | None) -> FloatArray:
        """See `Prepared.radii`."""
        out = np.empty(flips.shape, dtype=np.float64)
        for i, margins in enumerate(self._margins):
            for t, wanted in enumerate(flips[i].tolist()):
                out[i, t] = self._radius(margins, wanted, constant, norm)
        return out

    def _radius(self, margins: list[float], wanted: int, constant: Fraction, norm: Fraction | None) -> float:
        if wanted <= 0:
            return 0.0
        if wanted > len(margins):
            return math.inf
        if constant == 0:
            return math.inf if wanted > sum(d == 0 for d in margins) else 0.0

        def certifies(eps: float) -> bool:
            budget = Budget.of(Fraction(eps), constant, norm, self.pixels, single=self.single)
            return count_flips(margins, budget) < wanted

        return largest_certifying(certifies, 1.0)


def water_filling(behind: float, ahead: Sequence[float]) -> float:
    """Compute the squared l2 distance to logits where one class is at least as large as several others.

    Args:
        behind: the best logit of the side that is behind.
        ahead: the logits of the side that is ahead, in class order.

    Returns:
        min over t of (t - behind)^2 + sum_j (z_j - t)_+^2, times (1 - 2^-40) so that rounding never overstates it.

    Source: MATH.md sections 2 and 6.
    """
    gaps = [z - behind for z in ahead]
    t, above = 0.0, -1
    while True:
        total, number = 0.0, 0
        for d in gaps:
            if d > t:
                total += d
                number += 1
        if number == above:
            break
        t, above = max(t, total / (number + 1.0)), number
    squared = t * t
    for d in gaps:
        if d > t:
            squared += (d - t) * (d - t)
    return squared * (1 - 2.0**-40)


class ReferenceOneClass:
    """The confusion matrix and items of one class set, pixel by pixel."""

    backend = "reference"

    def __init__(self, batch: LogitsBatch) -> None:
        if batch.labels is None:
            raise ValueError("labels are needed")
        b, k, h, w = batch.logits.shape
        self.pixels = h * w
        self.single = k == 1
        self.leave_squared, self.enter_squared = squared_lists(batch)
        rows = arrays.doubles(batch.logits).transpose(0, 2, 3, 1).reshape(b, h * w, k).tolist()
        self.finite = np.array([all(math.isfinite(z) for pixel in image for z in pixel) for image in rows])
        cells = np.zeros((4, b), dtype=np.int64)
        self._lists: list[tuple[list[float], list[float]]] = []
        for i, image in enumerate(rows):
            leave: list[float] = []
            enter: list[float] = []
            for pixel, label in zip(image, batch.labels[i].reshape(-1).tolist(), strict=True):
                if label == batch.ignore or not 0 <= label < max(k, 2):
                    continue
                mine, ahead = label in batch.inside, prediction(pixel) in batch.inside
                cells[(0 if mine else 1) if ahead else (2 if mine else 3), i] += 1
                if mine == ahead and self.finite[i]:
                    squared = self.leave_squared if mine else self.enter_squared
                    item = _class_item(pixel, batch, inside=ahead, squared=squared)
                    whole = batch.whole_when_wrong and not mine and k > 1 and pixel[label] != max(pixel)
                    (leave if mine else enter).append(item if whole else item * batch.share)
            self._lists.append((sorted(leave), sorted(enter)))
        self.tp, self.fp, self.fn, self.tn = cells

    def lists(
        self, image: int, leave: Budget | None = None, enter: Budget | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """See `OneClass.lists`: always whole."""
        mine, others = self._lists[image]
        return np.array(mine, dtype=np.float64), np.array(others, dtype=np.float64)


def _class_item(pixel: Sequence[float], batch: LogitsBatch, *, inside: bool, squared: bool) -> float:
    if len(pixel) == 1:
        return pixel[0] * pixel[0] * (1 - 2.0**-40) if squared else abs(pixel[0])
    ahead = [z for j, z in enumerate(pixel) if (j in batch.inside) == inside]
    behind = max(z for j, z in enumerate(pixel) if (j in batch.inside) != inside)
    gap = max(ahead) - behind
    if not squared:
        return gap
    pair = gap * gap * 0.5 * (1 - 2.0**-40)
    return pair if inside and len(batch.inside) == 1 else water_filling(behind, ahead)


def frontier(leave: IntArray, enter: IntArray, limit: int, out: IntArray) -> int:
    """Pair every affordable number of leaves with the most enters the rest of the budget buys.

    Args:
        leave: ascending integer costs, none above `limit`.
        enter: ascending integer costs, none above `limit`.
        limit: the budget in the same units.
        out: [len(leave) + 1], overwritten: out[a] = largest b with A[a] + B[b] <= limit.

    Returns:
        How many values of a, from 0, are affordable.

    Source: MATH.md section 3.C.
    """
    enters = list(accumulate(enter.tolist(), initial=0))
    for a, spent in enumerate(accumulate(leave.tolist(), initial=0)):
        if spent > limit:
            return a
        out[a] = bisect_right(enters, limit - spent) - 1
    return len(leave) + 1


def worst_quotient(
    leave: IntArray, enter: IntArray, limit: int, counts: IntArray, above: IntArray, below: IntArray
) -> tuple[int, int, bool]:
    """Find the least quotient of two sums of counts over every affordable pair of flips, exactly.

    Args:
        leave: ascending integer costs, none above `limit`.
        enter: ascending integer costs, none above `limit`.
        limit: the budget in the same units.
        counts: [4], clean TP, FP, FN, TN.
        above: [4], coefficients of the numerator.
        below: [4], coefficients of the denominator.

    Returns:
        Numerator and positive denominator of the least quotient, (0, 0) where every denominator is 0; whether any
        denominator is 0.

    Source: MATH.md section 3.C.
    """
    most = np.empty(len(leave) + 1, dtype=np.int64)
    tp, fp, fn, tn = counts.tolist()
    found: list[Fraction] = []
    vanishes = False
    for a, b in enumerate(most[: frontier(leave, enter, limit, most)].tolist()):
        cells = (tp - a, fp + b, fn + a, tn - b)
        n, d = (sum(c * x for c, x in zip(row.tolist(), cells, strict=True)) for row in (above, below))
        if d:
            found.append(Fraction(n, d))
        vanishes |= d == 0
    least = min(found, default=None)
    return (0, 0, vanishes) if least is None else (least.numerator, least.denominator, vanishes)


class ReferenceBackend:
    """The integer reference."""

    name = "reference"

    def unavailable(self) -> str | None:
        """See `Backend.unavailable`: plain Python runs everywhere."""
        return None

    def prepare(self, batch: LogitsBatch) -> ReferencePrepared:
        """See `Backend.prepare`."""
        return ReferencePrepared(batch)

    def prepare_class(self, batch: LogitsBatch) -> ReferenceOneClass:
        """See `Backend.prepare_class`."""
        return ReferenceOneClass(batch)

    def rank(self, logits: Array) -> None:
        """See `Backend.rank`: nothing is shared."""


BACKEND = ReferenceBackend()

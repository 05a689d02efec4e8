"""Pooled metrics of whole images: each is one item with a budget of its own, so that nothing is shared.

Every attack on one image leaves all others free. A formula that is proved never to rise with a lost hit nor with a
false alarm is therefore at its worst where every image flips that can (MATH.md sections 3.C and 3.E).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from robspec.bounds import _carried, search
from robspec.bounds._carried import Array
from robspec.bounds.confusion import value_at, worst_value
from robspec.bounds.context import Context
from robspec.bounds.search import Found
from robspec.ir.types import Metric
from robspec.kernels.knapsack import FloatArray
from robspec.kernels.knapsack.budget import Budget, affordable
from robspec.semantics.constant import Constant


@dataclass(slots=True)
class _Part:
    """One class set on all images: clean counts, and what each flip costs."""

    metric: Metric
    cells: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    leave: list[FloatArray] = field(default_factory=list)
    enter: list[FloatArray] = field(default_factory=list)
    squared: tuple[bool, bool] = (False, False)
    single: bool = False


class Wholes:
    """A one-class ratio, or the mean of several, over images that are judged as a whole; as `pooled.Pool`.

    Args:
        metric: its formula has a numerator and a denominator linear in the counts.
        classes: number of classes of the model.
        constant: Lipschitz constant for the attack's norm.
    """

    def __init__(self, metric: Metric, classes: int, constant: Constant) -> None:
        self.metric = metric
        self.constant = constant
        self.images = 0
        self._parts = [_Part(one) for one in metric.each(classes)]

    def add(self, context: Context) -> None:
        """Read one batch of planes of one item; no image is excluded."""
        self.take(self.read(context))

    def read(self, context: Context) -> Iterator[Array]:
        """Give what is kept of a batch: of each part counts, and what each flip costs."""
        squared = self.constant.output_norm.p == 2
        for part in self._parts:
            batch = context.one_class(part.metric, part.metric.classes, water=squared)
            if batch.pixels != 1:
                raise ValueError("an image that is judged as a whole is one item")
            movable = np.flatnonzero((batch.tp + batch.tn) > 0).tolist()
            lists = [batch.lists(i) for i in movable]
            leave, enter = (
                np.concatenate([np.empty(0), *side]) for side in (zip(*lists, strict=True) if lists else ((), ()))
            )
            cells = [int(cell.sum()) for cell in (batch.tp, batch.fp, batch.fn, batch.tn)]
            flags = (batch.leave_squared, batch.enter_squared, batch.single)
            yield np.array([len(context), len(leave), *cells, *map(int, flags)], dtype=np.int64)
            yield np.concatenate([leave, enter])

    def take(self, arrays: Iterator[Array]) -> None:
        """Keep what was read of a batch, here or elsewhere."""
        images = 0
        for part in self._parts:
            images, leaves, *cells, first, second, single = next(arrays).tolist()
            part.cells = [sum(pair) for pair in zip(part.cells, cells, strict=True)]
            part.squared, part.single = (bool(first), bool(second)), bool(single)
            values = next(arrays)
            leave, enter = _carried.split(values, [leaves, len(values) - leaves])
            # One array alone is taken for ascending.
            part.leave += [np.sort(leave)] if len(leave) else []
            part.enter += [np.sort(enter)] if len(enter) else []
        self.images += images

    def clean(self) -> Fraction | None:
        """Compute the clean value, None where the annotation of all images together does not define it."""
        return self._mean([(0, 0)] * len(self._parts))

    def worst_case(self, budgets: Sequence[Fraction]) -> tuple[Fraction | None, ...]:
        """Bound the value within each budget (Q1), exactly over the relaxed sets up to the stated roundings."""
        if self.clean() is None:
            return (None,) * len(budgets)
        return tuple(self._worst(eps) for eps in budgets)

    def radius(self, gamma: Fraction | None, *, strict: bool) -> Found:
        """Bound the budget per image at which the value meets a threshold from below (Q2)."""
        clean = self.clean()
        if clean is None or gamma is None:
            return None
        everything = [(sum(map(len, p.leave)), sum(map(len, p.enter))) for p in self._parts]
        hopeless = self._attacked(everything) if self.constant.value else self._worst(Fraction(1))
        return search.radius(self.metric, clean, hopeless, gamma, self._worst, strict=strict)

    def close(self) -> None:
        """Forget the images."""
        self._parts = []

    def _worst(self, eps: Fraction) -> Fraction:
        return self._attacked([self._flips(part, eps) for part in self._parts])

    def _attacked(self, flips: Sequence[tuple[int, int]]) -> Fraction:
        value = self._mean(flips)
        return worst_value(self.metric) if value is None else value

    def _flips(self, part: _Part, eps: Fraction) -> tuple[int, int]:
        counts = []
        for name, squared in zip(("leave", "enter"), part.squared, strict=True):
            items = self._ascending(part, name)
            budget = Budget.of(
                eps, self.constant.value, self.constant.output_norm.p, 1, single=part.single, squared=squared
            )
            if budget.exponent:
                counts.append(len(affordable(items, budget)))
            else:
                counts.append(int(np.searchsorted(items, budget.scale, side="right")))
        return counts[0], counts[1]

    @staticmethod
    def _ascending(part: _Part, name: str) -> FloatArray:
        """All items of a part in one sorted array, merged once."""
        found: list[FloatArray] = getattr(part, name)
        if len(found) != 1:
            merged = np.sort(np.concatenate(found)) if found else np.empty(0)
            found[:] = [merged]
        return found[0]

    def _mean(self, flips: Sequence[tuple[int, int]]) -> Fraction | None:
        values = []
        for part, (a, b) in zip(self._parts, flips, strict=True):
            tp, fp, fn, tn = part.cells
            needed = part.metric.formula.defined
            if not (sum(part.cells) if needed is None else needed.at(tp, fp, fn, tn)):
                continue
            values.append(_worst_of(part.metric, part.cells, a, b))
        return sum(values, Fraction(0)) / len(values) if values else None


def _worst_of(metric: Metric, cells: Sequence[int], a: int, b: int) -> Fraction:
    """The value once a hits are lost and b false alarms made; the worst one where fewer can make the divisor 0."""
    tp, fp, fn, tn = cells
    below = metric.formula.ratio.denominator
    # The divisor is a sum of counts, so that it is least at an end of either kind of flip.
    if any(below.at(tp - i, fp + j, fn + i, tn - j) <= 0 for i in (0, a) for j in (0, b)):
        return worst_value(metric)
    return value_at(metric, tp - a, fp + b, fn + a, tn - b)

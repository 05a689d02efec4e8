"""Ratios pooled over a data set, in exact arithmetic (MATH.md 3.E)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from robspec.ir.plans import Pooled, PooledMean
from robspec.ir.types import Degraded, Metric, Property, WorstCaseQuery
from robspec.oracle.rounded import favoured, grounded
from robspec.oracle.scene import Scene, counts, defined, worst_of
from robspec.recheck.budget import budget_of, exponent, grid_bits, widened
from robspec.recheck.claims import Between, Claim, Within
from robspec.recheck.conditions import meets, metrics_of
from robspec.recheck.image import Ledger, Prices
from robspec.recheck.spool import Place, Spool
from robspec.semantics.constant import Constant
from robspec.semantics.norm import exact_text

_SAFE = 2**62


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is kept in memory of one class set on one image.

    Args:
        cells: TP, FP, FN, TN before the attack.
        digests: of the costs.
        last: how many leaves and enters there are.
        place: where the costs are.
    """

    cells: tuple[int, int, int, int]
    digests: tuple[str, ...]
    last: tuple[int, int]
    place: Place


class Pool:
    """A pooled property over the images it is given; the costs lie in a file, and memory holds those of one image.

    Args:
        prop: of one metric of the pooled family, a quotient of sums of counts.
        constant: of the property.

    Raises:
        ValueError: the metric is no quotient of sums of counts, or stands in a combination.
    """

    def __init__(self, prop: Property, constant: Constant) -> None:
        query = prop.query
        self.metric: Metric = next(metrics_of(prop))
        if not isinstance(self.metric.plan, Pooled | PooledMean) or not self.metric.formula.linear:
            raise ValueError(f"{self.metric.name} is pooled and no quotient of sums of counts")
        if not isinstance(query, WorstCaseQuery) and not all(isinstance(o, Degraded) for o in query.objectives):
            raise ValueError(f"{self.metric.name} is pooled and cannot be combined")
        self._query = query
        self._constant = constant
        self._spool = Spool()
        self._images: list[list[_Kept]] = []
        self._best: list[list[tuple[int, int, int, int]]] = []
        self._pixels = 1

    def add(self, scene: Scene) -> None:
        """Read one image; none is left out."""
        self._images.append([self._read(Ledger(one, scene)) for one in self.metric.each(scene.classes)])
        if self._constant.rounding:
            better = favoured(scene, self._constant.rounding, self.metric)
            seen, said = scene.counted(self.metric), better.predicted
            parts = [counts(scene.labels[seen], said[seen], one.classes) for one in self.metric.each(scene.classes)]
            self._best.append(parts)
        self._pixels = len(scene)

    def entry(self) -> dict[str, Any]:
        """What holds of all images together."""
        clean = self.clean()
        entry: dict[str, Any] = {
            "image": f"all {len(self._images)} images",
            "clean": None if clean is None else exact_text(clean),
            "costs": [d for image in self._images for part in image for d in part.digests],
            "grid": f"2^-{grid_bits(self._pixels)}",
        }
        best = clean
        if self._constant.rounding:
            best = self._value(lambda kept: _single(kept, (0, 0)), self._best)
            entry["best"] = None if best is None else exact_text(best)

        @lru_cache(maxsize=64)
        def at(eps: Fraction, wide: bool) -> Fraction:
            budget = budget_of(eps, self._constant)
            return self.worst(widened(budget, self._pixels) if wide else budget)

        if isinstance(self._query, WorstCaseQuery):
            entry["points"] = [self._within(eps, clean, at) for eps in self._query.budgets]
            return entry
        leaves = [o for o in self._query.objectives if isinstance(o, Degraded)]
        if self._constant.rounding:
            leaves = [o for o in (grounded(leaf, {self.metric: best}) for leaf in leaves) if isinstance(o, Degraded)]
        entry["points"] = [self._beyond(o, clean, at) for o in leaves]
        entry["met"] = [None if best is None else meets(o, best, best) for o in leaves]
        return entry

    def _within(
        self, eps: Fraction, clean: Fraction | None, at: Callable[[Fraction, bool], Fraction]
    ) -> dict[str, Any] | Claim:
        """What holds within a budget."""
        certified = None if clean is None else Between(at(eps, False), at(eps, True))
        return {"budget": exact_text(budget_of(eps, self._constant)), "certified": certified}

    def _beyond(
        self, objective: Degraded, clean: Fraction | None, at: Callable[[Fraction, bool], Fraction]
    ) -> dict[str, Any] | Claim:
        """What holds of a radius."""
        return {"certified": self._radius(objective, clean, at)}

    def clean(self) -> Fraction | None:
        """The value without any flip, None where the annotation of all images together does not define it."""
        return self._value(lambda kept: _single(kept, (0, 0)))

    def worst(self, budget: Fraction | None) -> Fraction:
        """The worst value within a budget; None for everything flipped."""

        found = self._value(lambda kept: self._reached(kept, budget))
        return worst_of(self.metric) if found is None else found

    def _reached(self, kept: _Kept, budget: Fraction | None) -> _Frontier:
        """What an image can be brought to within a budget; None for everything flipped."""
        if budget is None:
            return _single(kept, kept.last)
        a, b, unit = self._spool.read(kept.place)
        return _Frontier.of(kept.cells, Prices(a, b, unit, exponent(self._constant)).pairs(budget))

    def _read(self, book: Ledger) -> _Kept:
        last = len(book.a) - 1, len(book.b) - 1
        return _Kept(book.cells, book.digests, last, self._spool.write(book.a, book.b, book.unit))

    def _radius(
        self, objective: Degraded, clean: Fraction | None, at: Callable[[Fraction, bool], Fraction]
    ) -> Within | str | None:
        if clean is None:
            return None
        if meets(objective, clean, clean):
            return "0"
        if not meets(objective, clean, self.worst(None) if self._constant.value else at(Fraction(1), False)):
            return "inf"
        return Within(
            lambda eps: meets(objective, clean, at(eps, False)),
            lambda eps: meets(objective, clean, at(eps, True)),
            "the largest double within which the pooled value cannot be brought to the objective",
        )

    def _value(
        self,
        reachable: Callable[[_Kept], _Frontier],
        others: Sequence[Sequence[tuple[int, int, int, int]]] | None = None,
    ) -> Fraction | None:
        """The worst value over what each image can be brought to, or of other counts of each image and class."""
        values = list(self._each(reachable, others))
        known = [value for _, value in values if value is not None]
        return sum(known, Fraction(0)) / len(known) if known and len(known) == len(values) else None

    def _each(
        self,
        reachable: Callable[[_Kept], _Frontier],
        others: Sequence[Sequence[tuple[int, int, int, int]]] | None = None,
    ) -> Iterator[tuple[int, Fraction | None]]:
        """The same of each class set that the annotation defines, with its number."""
        for number, images in enumerate(zip(*self._images, strict=True)):
            tp, fp, fn, tn = (sum(kept.cells[i] for kept in images) for i in range(4))
            if not defined(self.metric, (tp, fp, fn, tn)):
                continue
            if others is None:
                reached = [reachable(kept) for kept in images]
            else:
                reached = [_Frontier.of(image[number], [(0, 0)]) for image in others]
            found = _extreme(self.metric, reached)
            yield number, self.metric.worst if found is None else found


@dataclass(frozen=True, slots=True)
class _Frontier:
    """What one image can be brought to: its counts before the attack, and pairs of leaves and enters.

    Args:
        cells: TP, FP, FN, TN.
        leaves: int64, at least one.
        enters: int64, as many.
    """

    cells: tuple[int, int, int, int]
    leaves: np.typing.NDArray[np.int64]
    enters: np.typing.NDArray[np.int64]

    @staticmethod
    def of(cells: tuple[int, int, int, int], pairs: Sequence[tuple[int, int]]) -> _Frontier:
        """Keep pairs as arrays."""
        table = np.array(pairs, dtype=np.int64)
        return _Frontier(cells, table[:, 0].copy(), table[:, 1].copy())

    def least(self, a: int, b: int) -> tuple[int, int]:
        """The pair of the least a * leaves + b * enters, exactly."""
        largest = abs(a) * int(self.leaves.max()) + abs(b) * int(self.enters.max())
        kind = np.dtype(np.int64) if max(largest, abs(a), abs(b)) < _SAFE else np.dtype(object)
        chosen = int(np.argmin(self.leaves.astype(kind) * a + self.enters.astype(kind) * b))
        return int(self.leaves[chosen]), int(self.enters[chosen])


def _single(kept: _Kept, pair: tuple[int, int]) -> _Frontier:
    return _Frontier.of(kept.cells, [pair])


def _extreme(metric: Metric, images: list[_Frontier]) -> Fraction | None:
    """The worst quotient of sums, one pair per image; None where its denominator is 0 whatever the attack does."""
    ratio = metric.formula.ratio
    sign = -1 if metric.lower_is_better else 1
    steps = ((-1, 0, 1, 0), (0, 1, 0, -1))
    above = [sign * ratio.numerator.at(*step) for step in steps]
    below = [ratio.denominator.at(*step) for step in steps]

    def sums(by: list[int]) -> tuple[int, int]:
        """Numerator, turned so that less is worse, and denominator where every image takes its least by * pair."""
        cells = [0, 0, 0, 0]
        for image in images:
            a, b = image.least(*by)
            tp, fp, fn, tn = image.cells
            cells = [x + y for x, y in zip(cells, (tp - a, fp + b, fn + a, tn - b), strict=True)]
        tp, fp, fn, tn = cells
        return sign * ratio.numerator.at(tp, fp, fn, tn), ratio.denominator.at(tp, fp, fn, tn)

    start = sums([-d for d in below])
    if start[1] == 0:
        return None
    if sums(below)[1] == 0:
        return worst_of(metric)
    found = Fraction(*start)
    while True:
        # The pairs of the least sum of num - found den: where that is not below 0, `found` is the minimum.
        reached = Fraction(
            *sums([n * found.denominator - d * found.numerator for n, d in zip(above, below, strict=True)])
        )
        if reached >= found:
            return sign * found
        found = reached

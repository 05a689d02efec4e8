"""Ratios pooled over a data set, in exact arithmetic (MATH.md 3.E)."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from typing import Any

from robspec.ir.types import Degraded, Metric, Property, WorstCaseQuery
from robspec.oracle.scene import Scene, defined, worst_of
from robspec.recheck.budget import budget_of, grid_bits, widened
from robspec.recheck.claims import Between, Within
from robspec.recheck.image import Ledger, one_class
from robspec.semantics.constant import Constant
from robspec.semantics.norm import exact_text


class Pool:
    """A pooled metric over the images it is given.

    Args:
        metric: of the pooled family, a quotient of sums of counts.
        q: exponent of the norm on the logits, None for infinity.
    """

    def __init__(self, metric: Metric, q: int | None) -> None:
        self.metric = metric
        self._q = q
        self._books: list[list[Ledger]] = []
        self._pixels = 1

    def add(self, scene: Scene) -> None:
        """Read one image; none is left out."""
        chosen = self.metric.classes or tuple(range(scene.classes))
        sets = [(k,) for k in chosen] if self.metric.average else [self.metric.classes]
        self._books.append([Ledger(one_class(self.metric, s), scene) for s in sets])
        self._pixels = len(scene)

    def entry(self, prop: Property, constant: Constant) -> dict[str, Any]:
        """What holds of all images together."""
        query = prop.query
        clean = self._value(Fraction(0), none=True)
        entry: dict[str, Any] = {
            "image": f"all {len(self._books)} images",
            "clean": None if clean is None else exact_text(clean),
            "costs": [d for books in self._books for book in books for d in book.digests],
            "grid": f"2^-{grid_bits(self._pixels)}",
        }

        @lru_cache(maxsize=64)
        def at(eps: Fraction, wide: bool) -> Fraction:
            budget = budget_of(eps, constant)
            found = self._value(widened(budget, self._pixels) if wide else budget)
            return worst_of(self.metric) if found is None else found

        if isinstance(query, WorstCaseQuery):
            entry["points"] = [
                {
                    "budget": exact_text(budget_of(eps, constant)),
                    "certified": None if clean is None else Between(at(eps, False), at(eps, True)),
                }
                for eps in query.budgets
            ]
            return entry
        leaves = [o for o in query.objectives if isinstance(o, Degraded)]
        entry["points"] = [{"certified": self._radius(o, clean, at, constant)} for o in leaves]
        entry["met"] = [None if clean is None else _meets(o, clean, clean) for o in leaves]
        return entry

    def _radius(
        self,
        objective: Degraded,
        clean: Fraction | None,
        at: Callable[[Fraction, bool], Fraction],
        constant: Constant,
    ) -> Within | str | None:
        if clean is None:
            return None
        if _meets(objective, clean, clean):
            return "0"
        everything = self._value(None) if constant.value else at(Fraction(1), False)
        if not _meets(objective, clean, worst_of(self.metric) if everything is None else everything):
            return "inf"
        return Within(
            lambda eps: _meets(objective, clean, at(eps, False)),
            lambda eps: _meets(objective, clean, at(eps, True)),
            "the largest double within which the pooled value cannot be brought to the objective",
        )

    def _value(self, budget: Fraction | None, *, none: bool = False) -> Fraction | None:
        """The worst value within a budget; None for the budget: however large; `none`: without any flip."""
        values = []
        for part in range(len(self._books[0]) if self._books else 0):
            books = [image[part] for image in self._books]
            tp, fp, fn, tn = (sum(b.cells[i] for b in books) for i in range(4))
            if not defined(books[0].metric, (tp, fp, fn, tn)):
                continue
            found = _extreme(self.metric, [_counts(b, budget, none=none) for b in books])
            if found is None and (self.metric.high if self.metric.lower_is_better else self.metric.low) is None:
                return None
            values.append(worst_of(self.metric) if found is None else found)
        return sum(values, Fraction(0)) / len(values) if values else None


def _meets(objective: Degraded, clean: Fraction, reached: Fraction) -> bool:
    gamma = objective.threshold.at(clean)
    if objective.metric.lower_is_better:
        reached, gamma = -reached, -gamma
    return reached < gamma if objective.strict else reached <= gamma


def _counts(book: Ledger, budget: Fraction | None, *, none: bool) -> list[tuple[int, int]]:
    """Numerator and denominator of one image for every pair of flips within its budget."""
    tp, fp, fn, tn = book.cells
    pairs = [(0, 0)] if none else [(len(book.a) - 1, len(book.b) - 1)] if budget is None else book.pairs(budget)
    ratio = book.metric.ratio
    if ratio is None:
        raise ValueError("no formula")
    found = []
    for a, b in pairs:
        cells = (tp - a, fp + b, fn + a, tn - b)
        found.append((ratio.numerator.at(*cells), ratio.denominator.at(*cells)))
    return found


def _extreme(metric: Metric, images: list[list[tuple[int, int]]]) -> Fraction | None:
    """The worst quotient of sums, one pair per image; None where its denominator is 0 whatever the attack does."""
    sign = -1 if metric.lower_is_better else 1
    if sum(max(d for _, d in pairs) for pairs in images) == 0:
        return None
    if sum(min(d for _, d in pairs) for pairs in images) == 0:
        return worst_of(metric)
    price: Fraction | None = None
    chosen = [pairs[0] for pairs in images]
    while True:
        above, below = sum(sign * n for n, _ in chosen), sum(d for _, d in chosen)
        found = Fraction(above, below)
        # Below `price` nothing was left to gain: no choice brings sum num - price den under 0.
        if price is not None and found >= price:
            return sign * found
        price = found
        chosen = [_cheapest(pairs, sign * price.denominator, price.numerator) for pairs in images]


def _cheapest(pairs: list[tuple[int, int]], above: int, below: int) -> tuple[int, int]:
    return min(pairs, key=lambda p: above * p[0] - below * p[1])

"""Metrics over the objects of one image or of all together, in exact arithmetic (DETECTION.md D2, D3, D5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from robspec.ir.plans import PooledObjects
from robspec.ir.types import Degraded, Metric, Property, WorstCaseQuery
from robspec.oracle import objects as oracle
from robspec.oracle.rounded import grounded
from robspec.oracle.scene import ratio_value, worst_of
from robspec.recheck.budget import grid_bits
from robspec.recheck.certain import Account, account
from robspec.recheck.claims import Between, Unreached
from robspec.recheck.conditions import meets, metrics_of
from robspec.recheck.located import Attack, Kept, Located
from robspec.recheck.mistaken import mistakes
from robspec.recheck.settled import best_of, ideal, settled, shift
from robspec.semantics.constant import Constant
from robspec.semantics.norm import exact_text

SOMEWHERE = 1
"""TN: there is always a place where nothing is."""


def counted(metric: Metric, image: Located, attack: Attack) -> Account:
    """What is certain of what a metric counts on an image."""
    ask = mistakes if metric.mislabelled else account
    return ask(image, image.asked(metric), attack)


def valued(metric: Metric, tp: int, fp: int, fn: int) -> Fraction:
    """The value at counts; the worst one where the divisor is 0."""
    found = metric.formula.ratio.at(tp, fp, fn, SOMEWHERE)
    return worst_of(metric) if found is None else found


def dividing_by_nothing(metric: Metric, found: Account) -> bool:
    """Whether an attack may leave no wrong detection and so many objects that the divisor is 0."""
    if not metric.worst_when_undefined:
        return False
    first = len(found.vanish) - found.lost
    below = metric.formula.ratio.denominator
    return any(below.at(tp, 0, found.objects - tp, SOMEWHERE) <= 0 for tp in range(first, found.objects + 1))


def worst_of_image(metric: Metric, found: Account) -> Fraction:
    """The worst value that what is certain of an image leaves possible."""
    if dividing_by_nothing(metric, found):
        return worst_of(metric)
    values = [valued(metric, *counts) for counts in found.outcomes()]
    return max(values) if metric.lower_is_better else min(values)


class Question:
    """A value that an attack makes worse, and what a certificate says of it.

    Args:
        constant: of the property; what its rounding takes is added to every budget.
        clean: the value without attack, None where it is undefined.
        hopeless: a value that no attack of any size goes beyond.
        ask: the worst value within an attack, exactly.
        shown: what it rests on, of a single image; or None.
    """

    def __init__(
        self,
        constant: Constant,
        clean: Fraction | None,
        hopeless: Fraction,
        ask: Callable[[Fraction, bool], Fraction],
        shown: Callable[[Fraction], dict[str, Any]] = lambda _: {},
    ) -> None:
        self._constant, self._clean, self._hopeless = constant, clean, hopeless
        self._ask, self._shown, self._off = ask, shown, shift(constant)

    def point(self, eps: Fraction) -> dict[str, Any]:
        """What holds within a budget."""
        eps = eps + self._off
        budget = exact_text(Attack.of(eps, self._constant).budget)
        if self._clean is None:
            return {"budget": budget, "certified": None}
        claim = Between(self._ask(eps, False), self._ask(eps, True))
        return {"budget": budget, **self._shown(eps), "certified": claim}

    def reach(self, objective: Degraded) -> dict[str, Any]:
        """What holds of a radius."""
        clean = self._clean
        if clean is None:
            return {"certified": None}
        if meets(objective, clean, clean):
            return {"certified": "0"}
        if not self._constant.value and not self._constant.boxes:
            still = meets(objective, clean, self._ask(Fraction(1), False))
            return {"certified": "0" if still else "inf"}
        if not meets(objective, clean, self._hopeless):
            return {"certified": "inf"}
        # Either of two attacks bounds what happens within the smaller.
        return {
            "certified": Unreached(
                lambda eps: all(meets(objective, clean, self._ask(eps + self._off, wide)) for wide in (False, True)),
                "a budget within which the value is certainly not brought to the objective",
            )
        }


def attack_of(eps: Fraction, constant: Constant, scores: int, wide: bool) -> Attack:
    """An attack of a size, or one that is larger by what rounding can add."""
    found = Attack.of(eps, constant)
    return found.widened(scores) if wide else found


class ObjectsBook:
    """A metric over the objects of one image.

    Args:
        metric: of the family "objects".
        image: the image.
        constant: of the property.
    """

    digests: tuple[str, ...] = ()

    def __init__(self, metric: Metric, image: Located, constant: Constant) -> None:
        counts = oracle.counts(metric, image.clean(), {})
        tp, _, fn = counts
        self.clean = ratio_value(metric, (*counts, SOMEWHERE))
        rounded = constant.rounding or constant.boxes_rounding
        self.best = best_of(metric, image, constant, self.clean) if rounded else self.clean
        every = image.scores.shape[1] * len(image.asked(metric))

        @lru_cache(maxsize=4)
        def within(eps: Fraction, wide: bool) -> Account:
            return counted(metric, image, attack_of(eps, constant, len(image), wide))

        def ask(eps: Fraction, wide: bool) -> Fraction:
            return worst_of_image(metric, within(eps, wide))

        def shown(eps: Fraction) -> dict[str, Any]:
            found = within(eps, False)
            return {
                "objects": found.objects,
                "found": len(found.vanish),
                "kept": found.kept,
                "lost": found.lost,
                "added": found.added,
                "prices": found.digest(),
            }

        hopeless = worst_of(metric) if self.clean is None else valued(metric, 0, every, tp + fn)
        self._question = Question(constant, self.clean, hopeless, ask, shown)

    def point(self, eps: Fraction, _: Constant) -> dict[str, Any]:
        """What holds within a budget."""
        return self._question.point(eps)

    def reach(self, objective: Degraded, _: Constant) -> dict[str, Any]:
        """What holds of a radius."""
        return self._question.reach(objective)


class ObjectsPool:
    """A metric over the objects of all images; as `pooled.Pool`.

    Args:
        prop: of one metric, whose plan is `PooledObjects`.
        constant: of the property.
    """

    def __init__(self, prop: Property, constant: Constant) -> None:
        self.metric: Metric = next(metrics_of(prop))
        if not isinstance(self.metric.plan, PooledObjects):
            raise ValueError(f"{self.metric.name} is of single images")
        self._query, self._constant = prop.query, constant
        self._images: Kept | None = None
        self._counts = np.zeros(3, dtype=np.int64)
        self._every, self._scores = 0, 1
        self._settled = True

    def add(self, image: Located) -> None:
        """Read one image."""
        self._images = self._images or Kept(image.detector)
        self._images.add(image)
        if self._constant.rounding or self._constant.boxes_rounding:
            self._settled &= settled(image, self._constant)
        self._counts += oracle.counts(self.metric, image.clean(), {})
        self._every += image.scores.shape[1] * len(image.asked(self.metric))
        self._scores = len(image)

    def entry(self) -> dict[str, Any]:
        """What holds of all images together."""
        tp, fp, fn = self._counts.tolist()
        clean = ratio_value(self.metric, (tp, fp, fn, SOMEWHERE)) if self._images is not None else None
        hopeless = Fraction(0) if clean is None else valued(self.metric, 0, self._every, tp + fn)
        ask = lru_cache(maxsize=64)(self._worst)
        count = 0 if self._images is None else self._images.count
        question = Question(self._constant, clean, hopeless, ask)
        best = clean if clean is None or self._settled else ideal(self.metric, clean, tp + fn)
        given = best if self._constant.rounding or self._constant.boxes_rounding else None
        return together(count, self._query, question, clean, self._scores, self.metric, given)

    def _worst(self, eps: Fraction, wide: bool) -> Fraction:
        metric, below = self.metric, self.metric.formula.ratio.denominator
        accounts = [
            counted(metric, image, attack_of(eps, self._constant, len(image), wide)) for image in self._images or ()
        ]
        if below.fixed:
            return sum((worst_of_image(metric, found) for found in accounts), Fraction(0))
        if metric.worst_when_undefined and sum(self._least(found) for found in accounts) <= 0:
            return worst_of(metric)
        above = metric.formula.ratio.numerator
        tables = [
            [(above.at(*c, SOMEWHERE), below.at(*c, SOMEWHERE)) for c in found.outcomes()] for found in accounts
        ]
        found = least_quotient(tables, -1 if metric.lower_is_better else 1)
        return worst_of(metric) if found is None else found

    def _least(self, found: Account) -> int:
        """The least divisor of an image: no wrong detection, and whichever number of objects is left."""
        below, first = self.metric.formula.ratio.denominator, len(found.vanish) - found.lost
        return min(below.at(tp, 0, found.objects - tp, SOMEWHERE) for tp in range(first, found.objects + 1))


def together(
    count: int,
    query: object,
    question: Question,
    clean: Fraction | None,
    scores: int,
    metric: Metric,
    best: Fraction | None,
) -> dict[str, Any]:
    """What a certificate says of all images together; `best` is given where something is rounded."""
    entry: dict[str, Any] = {
        "image": f"all {count} images",
        "clean": None if clean is None else exact_text(clean),
        "grid": f"2^-{grid_bits(scores)}",
        **({} if best is None else {"best": exact_text(best)}),
    }
    if isinstance(query, WorstCaseQuery):
        entry["points"] = [question.point(eps) for eps in query.budgets]
        return entry
    leaves = [o for o in getattr(query, "objectives", ()) if isinstance(o, Degraded)]
    if best is not None:
        leaves = [o for o in (grounded(leaf, {metric: best}) for leaf in leaves) if isinstance(o, Degraded)]
    at = clean if best is None else best
    entry["points"] = [question.reach(o) for o in leaves]
    entry["met"] = [None if at is None else meets(o, at, at) for o in leaves]
    return entry


def least_quotient(tables: Sequence[Sequence[tuple[int, int]]], sign: int) -> Fraction | None:
    """The least sum of numerators over sum of divisors (the largest, for a sign of -1), one pair of each table.

    Returns:
        None where the divisors can be brought to 0.
    """

    def chosen(price: Fraction | None) -> tuple[int, int]:
        above = below = 0
        for table in tables:
            if price is None:
                n, d = max(table, key=lambda pair: pair[1])
            else:
                # sum (n - price d) is least where every image's own is.
                n, d = min(table, key=lambda pair: sign * pair[0] * price.denominator - pair[1] * price.numerator)
            above, below = above + sign * n, below + d
        return above, below

    if sum(min(d for _, d in table) for table in tables) <= 0:
        return None
    found = Fraction(*chosen(None))
    while True:
        above, below = chosen(found)
        if above >= found * below:
            return sign * found
        found = Fraction(above, below)

"""One image under one condition or budget, exactly: counting and one-class formulas (MATH.md 3.A, 3.C)."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from robspec.ir.plans import Accuracy, Rate, Stability
from robspec.ir.types import AllOf, Degraded, Metric, Objective
from robspec.oracle.scene import BoolArray, Scene, counts, ratio_value, value
from robspec.recheck.conditions import meets
from robspec.recheck.exact import Priced, price, price_ranked
from robspec.semantics.classify import Flip

Cost: TypeAlias = Fraction | float
"""An exact cost, or infinity where no attack suffices."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A choice of flips: how many leave, how many enter, and what they cost together."""

    leave: int
    enter: int
    cost: Cost


class Prices:
    """What the cheapest flips of one image cost together.

    Args:
        a: of the n cheapest leaves, for n = 0, 1, ...
        b: of the n cheapest enters.
        unit: of both, in ||a||_q^q.
        q: exponent of the norm on the logits, None for infinity, where a and b are the dearest instead of sums.
    """

    def __init__(
        self, a: Sequence[int | Fraction], b: Sequence[int | Fraction], unit: Fraction, q: int | None
    ) -> None:
        self.a, self.b, self.unit, self.q = a, b, unit, q
        # What costs whole units is paid for by the whole units of a budget, which compare faster.
        self._whole = all(type(cost) is int for cost in (*a, *b))

    def pairs(self, budget: Fraction) -> list[tuple[int, int]]:
        """Every number of leaves with the most enters the rest of the budget pays for."""
        limit: int | Fraction = budget / self.unit
        if self._whole:
            limit = math.floor(limit)
        if self.q is None:
            return [(bisect_right(self.a, limit) - 1, bisect_right(self.b, limit) - 1)]
        found = []
        for leave, spent in enumerate(self.a):
            if spent > limit:
                break
            found.append((leave, bisect_right(self.b, limit - spent) - 1))
        return found


def clean_value(metric: Metric, scene: Scene) -> Fraction | None:
    """The value on the clean image, None where it is undefined."""
    if metric.rank == 1:
        return value(metric, scene, scene.predicted)
    seen = scene.counted(metric)
    total = int(seen.sum())
    return Fraction(int((seen & scene.among(metric.rank)).sum()), total) if total else None


class Ledger(Prices):
    """What a metric's flips cost on one image, and what each number of them makes of it.

    Args:
        metric: of the counting family without weights, or a one-class formula, monotone in both counts.
        scene: the image.
        share: of every cost that is charged to this metric.
        whole: [N], pixels whose entering is charged in full, or None.
    """

    def __init__(
        self, metric: Metric, scene: Scene, *, share: Fraction = Fraction(1), whole: BoolArray | None = None
    ) -> None:
        self.metric = metric
        self.clean = clean_value(metric, scene)
        seen, predicted = scene.counted(metric), scene.predicted
        self._cells: tuple[int, int, int, int] | None = None
        self._total = int(seen.sum())
        plan = metric.plan
        if metric.rank > 1:
            right = seen & scene.among(metric.rank)
            leave, enter = price_ranked(scene, right, metric.rank), Priced((), Fraction(1))
        elif isinstance(plan, Accuracy | Stability):
            right = seen & (predicted == scene.labels) if isinstance(plan, Accuracy) else seen
            leave, enter = price(scene, right, None), Priced((), Fraction(1))
        else:
            only = plan.flips if isinstance(plan, Rate) else None
            inside, ahead = np.isin(scene.labels, metric.classes), np.isin(predicted, metric.classes)
            self._cells = counts(scene.labels[seen], predicted[seen], metric.classes)
            none = np.zeros(len(scene), dtype=np.bool_)
            leaving = none if only is Flip.ENTER else seen & inside & ahead
            entering = none if only is Flip.LEAVE else seen & ~inside & ~ahead
            leave = price(scene, leaving, metric.classes).times(share)
            if whole is None:
                enter = price(scene, entering, metric.classes).times(share)
            else:
                halved = price(scene, entering & ~whole, metric.classes).times(share)
                enter = halved.merged(price(scene, entering & whole, metric.classes))
        # Units are a power of two times the same number, so that the smaller divides the larger; [0] has any unit.
        unit = min(p.unit for p in (leave, enter) if p.costs) if leave.costs or enter.costs else Fraction(1)
        a, b = (p.prefixes(unit, shared=scene.q is not None) for p in (leave, enter))
        super().__init__(a, b, unit, scene.q)
        self.digests = (leave.digest(), enter.digest())

    @property
    def cells(self) -> tuple[int, int, int, int]:
        """TP, FP, FN, TN before the attack."""
        if self._cells is None:
            raise ValueError("no class set")
        return self._cells

    def after(self, leave: int, enter: int) -> Fraction:
        """The metric after that many flips."""
        if self._cells is None:
            found: Fraction | None = Fraction(len(self.a) - 1 - leave, self._total)
        else:
            tp, fp, fn, tn = self._cells
            found = ratio_value(self.metric, (tp - leave, fp + enter, fn + leave, tn - enter))
        if found is None:
            raise ValueError("undefined after a flip")
        return found

    def worst(self, budget: Fraction) -> tuple[Fraction, Cut]:
        """The worst value within a budget and the flips that reach it."""
        sign = -1 if self.metric.lower_is_better else 1
        best = min(self.pairs(budget), key=lambda p: (sign * self.after(*p), p))
        return self.after(*best), self.cut(*best)

    def least(self, budget: Fraction | None) -> Fraction:
        """The worst value within a budget; None for everything flipped."""
        if budget is None:
            return self.after(len(self.a) - 1, len(self.b) - 1)
        if self._cells is None or not self.metric.formula.linear:
            return self.worst(budget)[0]
        ratio = self.metric.formula.ratio
        sign = -1 if self.metric.lower_is_better else 1
        tp, fp, fn, tn = self._cells
        above, below = ratio.numerator, ratio.denominator
        # Both sums change by the same amount with every leave, and with every enter.
        n, n_leave, n_enter = above.at(tp, fp, fn, tn), above.at(-1, 0, 1, 0), above.at(0, 1, 0, -1)
        d, d_leave, d_enter = below.at(tp, fp, fn, tn), below.at(-1, 0, 1, 0), below.at(0, 1, 0, -1)
        best: tuple[int, int] | None = None
        for a, b in self.pairs(budget):
            found = sign * (n + a * n_leave + b * n_enter), d + a * d_leave + b * d_enter
            if found[1] <= 0:
                return self.worst(budget)[0]
            if best is None or found[0] * best[1] < best[0] * found[1]:
                best = found
        if best is None:
            raise ValueError("no flips are always affordable")
        return sign * Fraction(*best)

    def cut(self, leave: int, enter: int) -> Cut:
        """Price a choice of flips."""
        one, other = self.a[leave], self.b[enter]
        return Cut(leave, enter, (max(one, other) if self.q is None else one + other) * self.unit)

    def needs(self, objective: Degraded) -> Cut | None:
        """The cheapest flips that meet an objective; infinite where none do, None where it is undefined."""
        if self.clean is None:
            return None
        clean = self.clean

        def suffice(leave: int, enter: int) -> bool:
            return meets(objective, clean, self.after(leave, enter))

        last_a, last_b = len(self.a) - 1, len(self.b) - 1
        if not suffice(last_a, last_b):
            return Cut(0, 0, math.inf)
        best: tuple[int | Fraction, int, int] | None = None
        enter = last_b
        for leave in range(last_a + 1):
            # The least number of enters never grows with the number of leaves.
            if not suffice(leave, enter):
                continue
            while enter > 0 and suffice(leave, enter - 1):
                enter -= 1
            one, other = self.a[leave], self.b[enter]
            cost = max(one, other) if self.q is None else one + other
            if best is None or cost < best[0]:
                best = cost, leave, enter
        return None if best is None else self.cut(best[1], best[2])


def needs(objective: Objective, ledgers: Mapping[Metric, Ledger]) -> Cut | None:
    """The cheapest flips a combination of objectives takes (MATH.md 3.F).

    Args:
        objective: `and` takes what its dearest part does, `or` what its cheapest does.
        ledgers: of every metric in it.

    Returns:
        As `Ledger.needs`; an undefined part leaves it undefined unless another part decides.
    """
    if isinstance(objective, Degraded):
        return ledgers[objective.metric].needs(objective)
    parts = [needs(part, ledgers) for part in objective.parts]
    known = [p for p in parts if p is not None]
    every = isinstance(objective, AllOf)
    decisive = math.inf if every else 0
    if len(known) < len(parts) and all(p.cost != decisive for p in known):
        return None
    return (max if every else min)(known, key=lambda p: p.cost)

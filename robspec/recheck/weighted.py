"""Weighted counts and mean recall in exact arithmetic: the linear relaxation of a knapsack (MATH.md 3.B)."""

from __future__ import annotations

import math
from fractions import Fraction
from hashlib import sha256
from typing import Any, TypeAlias

import numpy as np

from robspec.ir.plans import MeanRate, Rate, Stability, unweighted
from robspec.ir.types import Metric
from robspec.oracle.scene import BoolArray, Scene, averaged, value
from robspec.recheck.claims import Between
from robspec.recheck.exact import integers, prices
from robspec.recheck.relaxed import Relaxed
from robspec.semantics.classify import Flip
from robspec.semantics.constant import Constant
from robspec.semantics.norm import exact_text

ROOM = Fraction(1, 2**24)
"""How far below the relaxation's optimum a bound in doubles may lie, relative to all that can be lost."""


class WeightedBook(Relaxed):
    """What the flips of one image cost and lose.

    Args:
        metric: of the weighted family.
        scene: the image.
    """

    def __init__(self, metric: Metric, scene: Scene) -> None:
        super().__init__(metric, scene)
        self.clean, (chosen, losses, inside) = _items(metric, scene)
        costs, self._unit = prices(scene, chosen, inside, pairs=True)
        whole = math.lcm(*(p.denominator for p in losses)) if losses else 1
        self._share = Fraction(1, whole)
        worth = [(int(c), p.numerator * (whole // p.denominator)) for c, p in zip(costs, losses, strict=True) if p]
        # Exact: quotients of different value differ by more than one in these integers.
        shift = 2 * max((c.bit_length() for c, _ in worth), default=0) + 1
        self._items = sorted(worth, key=lambda x: (-((x[1] << shift) // x[0]) if x[0] else -math.inf, x))
        self._all = sum((p for _, p in self._items), 0) * self._share
        self._known: dict[Fraction, Fraction] = {}

    @property
    def digests(self) -> tuple[str, ...]:
        """SHA-256 of the costs and what each flip loses, written exactly."""
        words = (str(self._unit), str(self._share), *(f"{c} {p}" for c, p in self._items))
        return (sha256("\n".join(words).encode()).hexdigest(),)

    def lost(self, budget: Fraction) -> Fraction:
        """See `_lost`; remembered, though not by an lru_cache, which would keep the book alive."""
        if budget not in self._known:
            self._known[budget] = self._lost(budget)
        return self._known[budget]

    def _lost(self, budget: Fraction) -> Fraction:
        """The most a budget can lose, flips being divisible; none that alone exceeds it is begun."""
        limit = budget / self._unit
        whole = limit.numerator // limit.denominator
        if self.q is None:
            return sum(p for c, p in self._items if c <= whole) * self._share
        spent = total = 0
        for cost, loss in self._items:
            if cost > whole:
                continue
            if spent + cost > whole:
                return (total + (limit - spent) * Fraction(loss, cost)) * self._share
            spent += cost
            total += loss
        return total * self._share

    def worst(self, budget: Fraction | None) -> Fraction:
        """See `Relaxed.worst`."""
        if self.clean is None:
            raise ValueError("undefined")
        lost = self._all if budget is None else self.lost(budget)
        return self.clean + lost if self.metric.lower_is_better else self.clean - lost

    def loosest(self, budget: Fraction) -> Fraction:
        """See `Relaxed.loosest`."""
        if self.clean is None:
            raise ValueError("undefined")
        lost = min(self.lost(budget) + self._all * ROOM, self._all)
        return self.clean + lost if self.metric.lower_is_better else self.clean - lost

    def point(self, eps: Fraction, constant: Constant) -> dict[str, Any]:
        """What holds within a budget."""
        budget, wide = self.budgets(eps, constant)
        if self.clean is None:
            return {"budget": exact_text(budget), "lost": None, "certified": None}
        certified = Between(self.worst(budget), self.loosest(wide))
        return {"budget": exact_text(budget), "lost": exact_text(self.lost(budget)), "certified": certified}


_Items: TypeAlias = tuple[BoolArray, list[Fraction], tuple[int, ...] | None]
"""The pixels whose flip hurts; what each loses; the class set they cross the border of, or None."""


def _items(metric: Metric, scene: Scene) -> tuple[Fraction | None, _Items]:
    """The clean value, None where it is undefined, and the items."""
    seen, labels, predicted = scene.counted(metric), scene.labels, scene.predicted
    nothing: _Items = (np.zeros(len(scene), np.bool_), [], None)
    plan = unweighted(metric.plan)
    if isinstance(plan, MeanRate):
        parts = averaged(metric, scene)
        loss = {part.classes[0]: w / int((seen & (labels == part.classes[0])).sum()) for w, part in parts}
        chosen = seen & (predicted == labels) & np.isin(labels, list(loss))
        return value(metric, scene, predicted), (chosen, [loss[k] for k in labels[chosen].tolist()], None)
    rows, _ = integers(scene.weights[:, None])
    weights = [row[0] for row in rows]

    def total(chosen: BoolArray) -> int:
        return sum(weights[i] for i in np.flatnonzero(chosen).tolist())

    if not isinstance(plan, Rate):
        whole, right = total(seen), seen & ((predicted == labels) | isinstance(plan, Stability))
        if not whole:
            return None, nothing
        losses = [Fraction(weights[i], whole) for i in np.flatnonzero(right).tolist()]
        return Fraction(total(right), whole), (right, losses, None)
    inside, ahead = np.isin(labels, metric.classes), np.isin(predicted, metric.classes)
    cells = (inside & ahead, ~inside & ahead, inside & ~ahead, ~inside & ~ahead)
    tp, fp, fn, tn = (total(seen & cell) for cell in cells)
    below = plan.formula.ratio.denominator.at(tp, fp, fn, tn)
    if not below:
        return None, nothing
    leaving = plan.flips is Flip.LEAVE
    chosen = seen & cells[0 if leaving else 3]
    change = abs(plan.formula.ratio.numerator.at(*((-1, 0, 1, 0) if leaving else (0, 1, 0, -1))))
    losses = [Fraction(weights[i] * change, below) for i in np.flatnonzero(chosen).tolist()]
    return Fraction(plan.formula.ratio.numerator.at(tp, fp, fn, tn), below), (chosen, losses, metric.classes)

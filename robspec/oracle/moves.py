"""The moves an attack has: bring one pixel's prediction to another class, at a price."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np

from robspec.ir.types import Metric
from robspec.oracle import costs
from robspec.oracle.scene import BoolArray, FloatArray, IntArray, Scene

Reach: TypeAlias = Fraction | float
"""L eps: an exact rational, or infinity."""
SLACK = 1e-6
"""How much larger, in parts of itself, the second budget is that brackets a bound from the other side."""


@dataclass(frozen=True, slots=True)
class Moves:
    """Moves of one image, in no order; those no budget buys are left out.

    Args:
        pixel: which pixel each is of.
        target: the class it brings about.
        share: what it costs, in parts of the budget; 0 where moves do not share one.
        shared: whether they share a budget (every norm but infinity).
    """

    pixel: IntArray
    target: IntArray
    share: FloatArray
    shared: bool

    def __len__(self) -> int:
        return len(self.pixel)

    def only(self, kept: BoolArray) -> Moves:
        """Some of them."""
        return Moves(self.pixel[kept], self.target[kept], self.share[kept], self.shared)


def budget_of(reach: Reach, q: int | None) -> Reach:
    """What may be spent: reach^q in all, or reach at each pixel for infinity."""
    return reach if q is None or reach == math.inf else reach**q


def reach_for(scene: Scene, part: float) -> Fraction:
    """Choose a reach that pays for about a part of the pixels, so that a question about it is not trivial."""
    table = costs.table(scene)
    table[np.arange(len(scene)), scene.predicted] = np.inf
    ascending = np.sort(table.min(axis=1))
    few = max(1, round(part * len(ascending)))
    if scene.q is None:
        return Fraction(float(ascending[few - 1])) * (1 + Fraction(1, 1000))
    spent = float(ascending[:few].sum()) * 1.001
    return Fraction(spent if scene.q == 1 else math.sqrt(spent))


def affordable(scene: Scene, reach: Reach) -> Moves:
    """List every move to another class that fits a budget larger by SLACK on its own.

    Args:
        scene: the image.
        reach: L eps, exact; infinity for an attack of any size.

    Returns:
        The moves; at most classes - 1 per pixel.
    """
    table = costs.table(scene)
    budget = budget_of(reach, scene.q)
    elsewhere = np.ones(table.shape, dtype=np.bool_)
    elsewhere[np.arange(len(scene)), scene.predicted] = False
    if budget == math.inf:
        shares = np.zeros(table.shape)
    elif budget == 0:
        shares = np.where(table == 0, 0.0, np.inf)
    else:
        with np.errstate(over="ignore"):
            shares = table / max(float(budget), 5e-324)
    pixel, target = np.nonzero(elsewhere & (shares <= 1 + SLACK))
    shared = scene.q is not None and budget != math.inf
    share = shares[pixel, target] if shared else np.zeros(len(pixel))
    return Moves(pixel.astype(np.int64), target.astype(np.int64), share, shared)


def cheapest_across(scene: Scene, moves: Moves, inside: Sequence[int]) -> Moves:
    """Keep, for each pixel, its cheapest move across the border of a class set."""
    crossing = np.isin(moves.target, inside) != np.isin(scene.predicted[moves.pixel], inside)
    return cheapest(moves.only(crossing))


def cheapest(moves: Moves) -> Moves:
    """Keep the cheapest move of each pixel."""
    order = np.lexsort((moves.share, moves.pixel))
    first = np.ones(len(moves), dtype=np.bool_)
    first[1:] = moves.pixel[order][1:] != moves.pixel[order][:-1]
    kept = np.zeros(len(moves), dtype=np.bool_)
    kept[order[first]] = True
    return moves.only(kept)


@dataclass(frozen=True, slots=True)
class Attack:
    """An assignment of labels, paid for in exact rationals.

    Args:
        found: [N], the labels after the attack.
        spent: what it costs, exact; the largest cost of one pixel for infinity.
        dropped: how many of a solver's moves had to be taken back to fit the budget.
    """

    found: IntArray
    spent: Fraction
    dropped: int

    def value(self, metric: Metric, scene: Scene) -> Fraction | None:
        """The metric's value after the attack."""
        from robspec.oracle.scene import value

        return value(metric, scene, self.found)


def pay(scene: Scene, moves: Moves, reach: Reach) -> Attack:
    """Make moves as far as an exact budget goes, the dearest given up first.

    Args:
        scene: the image.
        moves: what a solver chose, one per pixel.
        reach: L eps, exact.

    Returns:
        An attack that is within the budget beyond doubt.
    """
    budget = budget_of(reach, scene.q)
    chosen = zip(moves.pixel.tolist(), moves.target.tolist(), strict=True)
    priced = sorted((costs.exact(scene.logits[w].tolist(), k, scene.q), w, k) for w, k in chosen)
    asked = len(priced)
    if scene.q is None:
        priced = [item for item in priced if item[0] <= budget]
        spent = max((c for c, _, _ in priced), default=Fraction(0))
    else:
        spent = sum((c for c, _, _ in priced), Fraction(0))
        while spent > budget:
            spent -= priced.pop()[0]
    found = scene.predicted.copy()
    for _, w, k in priced:
        found[w] = k
    return Attack(found, spent, asked - len(priced))

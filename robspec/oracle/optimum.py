"""The worst case of one metric on one image, found by a solver and paid for in exact rationals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from robspec.ir.plans import Quotient
from robspec.ir.types import Metric
from robspec.oracle import linear, ratio, solver, tabled
from robspec.oracle.moves import SLACK, Attack, Moves, Reach, affordable, pay
from robspec.oracle.scene import Scene, value
from robspec.semantics.formula import Polynomial, Ratio

_OVERLAP = Ratio(Polynomial.count("TP"), Polynomial.count("TP", "FP", "FN"))
"""What stands in for a formula that is no quotient of sums when attacks on it are to be found."""


@dataclass(frozen=True, slots=True)
class Optimum:
    """What a solver found.

    Args:
        value: the metric under `attack`, exact.
        attack: within the budget beyond doubt.
        beyond: the metric under the best assignment of a budget larger by SLACK, or None when the solver does not
            claim optimality: a bound that is worse than it gives away more than rounding does.
        moves: how many moves the program chose from.
        method: which program.
        complete: False when only some attacks were tried, so that there may be worse ones.
    """

    value: Fraction
    attack: Attack
    beyond: Fraction | None
    moves: int
    method: str
    complete: bool = True


def solve(metric: Metric, scene: Scene, reach: Reach, *, thorough: bool) -> Optimum | None:
    """Find the worst value of a metric within reach.

    Args:
        metric: any family but "pooled".
        scene: the image; the metric is defined on it.
        reach: L eps, exact; infinity for an attack of any size.
        thorough: True for crops: every move of every pixel; False for whole images: a program that must have the
            same answer, over the pixels that can matter.

    Returns:
        The optimum, or None when no program of this size is solved.
    """
    moves = affordable(scene, reach)
    chosen, found = _deciding(metric, scene, moves, 1 + SLACK, thorough=thorough)
    if found is None:
        return None if thorough else _tried(metric, scene, moves, reach)
    attack = pay(scene, _made(chosen, found), reach)
    wide = scene.predicted.copy()
    made = _made(chosen, found)
    wide[made.pixel] = made.target
    beyond = value(metric, scene, wide) if found.optimal else None
    if attack.dropped:
        again = _deciding(metric, scene, moves, 1.0, thorough=thorough)
        if again[1] is not None:
            other = pay(scene, _made(again[0], again[1]), reach)
            attack = _worse(metric, scene, attack, other)
    reached = attack.value(metric, scene)
    if reached is None:
        return None
    return Optimum(reached, attack, beyond, len(chosen), _method(metric))


def _tried(metric: Metric, scene: Scene, moves: Moves, reach: Reach) -> Optimum | None:
    """Try the worst attacks on each part of a metric whose own program is too large for a whole image."""
    worst: Optimum | None = None
    for _, part in tabled.parts_of(metric, scene):
        alone = replace(part.alone(part.classes), region=metric.region, region_mask=metric.region_mask)
        if not ratio.is_quotient(alone):
            stand_in = Quotient(replace(part.formula, ratio=_OVERLAP), part.classes)
            alone = replace(alone, plan=stand_in, low=Fraction(0), high=Fraction(1), lower_is_better=False)
        if value(alone, scene, scene.predicted) is None:
            continue
        chosen, found = ratio.deciding(alone, scene, moves, 1.0, thorough=False)
        if found is None:
            continue
        attack = pay(scene, _made(chosen, found), reach)
        reached = attack.value(metric, scene)
        if reached is None:
            continue
        sign = -1 if metric.lower_is_better else 1
        if worst is None or sign * reached < sign * worst.value:
            method = "attacks on single classes by integer programs, HiGHS"
            worst = Optimum(reached, attack, None, len(chosen), method, complete=False)
    return worst


def _deciding(
    metric: Metric, scene: Scene, moves: Moves, budget: float, *, thorough: bool
) -> tuple[Moves, solver.Solution | None]:
    if linear.is_linear(metric):
        if thorough:
            gains = linear.harm(metric, scene)[moves.pixel, moves.target]
            top = float(np.abs(gains).max(initial=0.0)) or 1.0
            shared = budget if moves.shared else None
            return moves, solver.best_moves(gains / top, moves.share, moves.pixel, shared)
        return linear.deciding(metric, scene, moves, budget)
    if ratio.is_quotient(metric):
        return ratio.deciding(metric, scene, moves, budget, thorough=thorough)
    if thorough:
        return tabled.deciding(metric, scene, moves, budget)
    return moves, None


def _method(metric: Metric) -> str:
    if linear.is_linear(metric):
        return "integer program, HiGHS"
    if ratio.is_quotient(metric):
        return "integer programs by bisection on the value, HiGHS"
    return "integer program with tabled values, HiGHS"


def _made(moves: Moves, solution: solver.Solution) -> Moves:
    return moves.only(solution.taken.astype(np.bool_))


def _worse(metric: Metric, scene: Scene, one: Attack, other: Attack) -> Attack:
    values = [a.value(metric, scene) for a in (one, other)]
    if values[0] is None or values[1] is None:
        return one
    first = values[0] >= values[1] if metric.lower_is_better else values[0] <= values[1]
    return one if first else other

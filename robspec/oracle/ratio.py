"""Quotients of counts of one class set: a sequence of integer programs, each deciding whether a value can be beaten.

Whether some attack brings num / den to at most g is whether it brings num - g den to at most 0: linear in the moves.
Each program's answer is the next g, until none can be beaten (MATH.md 3.C and 3.E).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from robspec.ir.plans import Quotient
from robspec.ir.types import Metric
from robspec.oracle import solver
from robspec.oracle.moves import SLACK, Moves, cheapest_across
from robspec.oracle.scene import BoolArray, FloatArray, IntArray, Scene, value

_ROUNDS = 30
_STEPS = {(True, True): (-1, 0, 1, 0), (False, False): (0, 1, 0, -1), (True, False): (1, 0, -1, 0)}
"""What a crossing does to TP, FP, FN, TN, by whether the pixel is labelled inside and predicted inside."""


def is_quotient(metric: Metric) -> bool:
    """Tell whether a metric is a quotient of sums of counts of one class set."""
    return isinstance(metric.plan, Quotient) and metric.plan.formula.linear


def gains(metric: Metric, scene: Scene, moves: Moves, price: Fraction) -> FloatArray:
    """Compute what each crossing does to price * den - num (the negative where lower is better)."""
    counted, labels, clean = scene.counted(metric), scene.labels, scene.predicted
    inside, ahead = np.isin(labels, metric.classes), np.isin(clean, metric.classes)
    out = np.zeros(len(moves))
    for (mine, said), step in {**_STEPS, (False, True): (0, -1, 0, 1)}.items():
        here = (counted & (inside == mine) & (ahead == said))[moves.pixel]
        out[here] = _change(metric, step, price)
    return out


def _change(metric: Metric, step: tuple[int, int, int, int], price: Fraction) -> float:
    ratio = metric.formula.ratio
    change = price * ratio.denominator.at(*step) - ratio.numerator.at(*step)
    return float(-change if metric.lower_is_better else change)


def settle(
    metric: Metric, start: Fraction, attempt: Callable[[Fraction], tuple[Fraction, bool] | None]
) -> bool | None:
    """Lower (or raise) a value until no program beats it.

    Args:
        metric: its polarity.
        start: the clean value.
        attempt: solves the program at a price, remembers its answer, and gives the value reached and whether the
            solver claims optimality.

    Returns:
        Whether every program was solved to optimality; None when one failed.
    """
    price, optimal = start, True
    for _ in range(_ROUNDS):
        found = attempt(price)
        if found is None:
            return None
        reached, claimed = found
        optimal &= claimed
        better = reached > price if metric.lower_is_better else reached < price
        if not better:
            return optimal
        price = reached
    return False


def deciding(
    metric: Metric, scene: Scene, moves: Moves, budget: float, *, thorough: bool
) -> tuple[Moves, solver.Solution | None]:
    """Solve for the worst value.

    Args:
        metric: a quotient of sums of counts of one class set.
        scene: the image; the metric is defined on it.
        moves: the affordable moves.
        budget: 1, or 1 + SLACK.
        thorough: True: one binary for every pixel that can cross the border of the set, in either direction; False:
            true positives that leave and true negatives that enter only, of each the cheapest that fit the budget
            alone, which gives the same answer for a formula monotone in both.

    Returns:
        The moves chosen from, and which are made; None when the solver fails.
    """
    every = cheapest_across(scene, moves, metric.classes)
    counted = scene.counted(metric)
    inside, ahead = np.isin(scene.labels, metric.classes), np.isin(scene.predicted, metric.classes)
    kept = counted if thorough else counted & (inside == ahead)
    every = every.only(kept[every.pixel])
    clean = value(metric, scene, scene.predicted)
    if clean is None:
        return every, None
    emptied = vanishing(metric, scene, every, budget)
    if emptied is not None:
        return every, emptied
    best: list[solver.Solution] = []

    def attempt(price: Fraction) -> tuple[Fraction, bool] | None:
        gain = gains(metric, scene, every, price)
        found = program(every, gain, inside[every.pixel], budget, thorough=thorough)
        if found is None:
            return None
        after = scene.predicted.copy()
        chosen = found.taken.astype(np.bool_)
        after[every.pixel[chosen]] = every.target[chosen]
        reached = value(metric, scene, after)
        if reached is None:
            return None
        better = not best or (reached > price if metric.lower_is_better else reached < price)
        if better:
            best[:] = [found]
        return reached, found.optimal

    optimal = settle(metric, clean, attempt)
    if optimal is None or not best:
        return every, None
    return every, solver.Solution(best[0].taken, optimal, best[0].value)


def vanishing(metric: Metric, scene: Scene, moves: Moves, budget: float) -> solver.Solution | None:
    """Bring the denominator to 0, which counts as the worst value: no price tells a program to look for that.

    Args:
        metric: as in `deciding`, like `budget`; its denominator has no negative coefficient.
        scene: the image.
        moves: of each pixel one at most, across the border of the set.
        budget: what they may cost together.

    Returns:
        The crossings without which it is not 0, and no other; None where they do not do it, or cost too much.
    """
    if metric.worst is None:
        return None
    inside, ahead = np.isin(scene.labels, metric.classes), np.isin(scene.predicted, metric.classes)
    weights = np.array([metric.formula.ratio.denominator.at(*(int(i == j) for i in range(4))) for j in range(4)])
    now, then = _cell(inside, ahead), _cell(inside, ~ahead)
    needed = scene.counted(metric) & (weights[now] > 0)
    taken = needed[moves.pixel]
    able = np.zeros(len(scene), dtype=np.bool_)
    able[moves.pixel] = True
    if not needed.any() or bool((needed & (~able | (weights[then] > 0))).any()):
        return None
    if moves.shared and float(moves.share[taken].sum()) > budget:
        return None
    return solver.Solution(taken.astype(np.int64), True, float(np.count_nonzero(taken)))


def _cell(inside: BoolArray, ahead: BoolArray) -> IntArray:
    """Which of TP, FP, FN, TN each pixel is."""
    found: IntArray = np.where(ahead, np.where(inside, 0, 1), np.where(inside, 2, 3))
    return found


def program(
    moves: Moves, gain: FloatArray, inside: BoolArray, budget: float, *, thorough: bool
) -> solver.Solution | None:
    if not len(moves):
        return solver.Solution(np.zeros(0, dtype=np.int64), True, 0.0)
    top = float(np.abs(gain).max()) or 1.0
    if not moves.shared:
        return solver.Solution((gain > 0).astype(np.int64), True, float(gain[gain > 0].sum()))
    if thorough:
        return solver.best_moves(gain / top, moves.share, moves.pixel, budget)
    lists = [_ascending(moves, np.flatnonzero(side)) for side in (inside, ~inside)]
    groups = [solver.Group(float(gain[m[0]]) / top if len(m) else 0.0, moves.share[m]) for m in lists if len(m)]
    lists = [m for m in lists if len(m)]
    found = solver.best_counts(groups, budget)
    if found is None:
        return None
    taken = np.zeros(len(moves), dtype=np.int64)
    for m, n in zip(lists, found.taken.tolist(), strict=True):
        taken[m[:n]] = 1
    return solver.Solution(taken, found.optimal, found.value)


def _ascending(moves: Moves, members: IntArray) -> IntArray:
    """The cheapest of some moves, as many as fit the budget alone and two more."""
    members = members[np.argsort(moves.share[members], kind="stable")]
    few = int(np.searchsorted(np.cumsum(moves.share[members]), 1 + 2 * SLACK, side="right")) + 2
    return members[:few]

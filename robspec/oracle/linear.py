"""Metrics a move changes by a fixed amount: accuracies, rates of one class, weighted sums (MATH.md 3.A and 3.B)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from robspec.ir.plans import Accuracy, MeanRate, Rate, Stability, Weighted, unweighted
from robspec.ir.types import Metric
from robspec.oracle import solver
from robspec.oracle.moves import SLACK, Moves, cheapest
from robspec.oracle.scene import FloatArray, IntArray, Scene, averaged, weighed
from robspec.semantics.classify import Flip

MOST_GROUPS = 64


def is_linear(metric: Metric) -> bool:
    """Tell whether each move changes the metric by an amount of its own, whatever the others do."""
    return isinstance(metric.plan, Accuracy | Stability | Rate | Weighted | MeanRate)


def harm(metric: Metric, scene: Scene) -> FloatArray:
    """Compute how much worse the metric gets when a pixel is brought to a class, to double precision.

    Args:
        metric: a linear one.
        scene: the image; the metric is defined on it.

    Returns:
        [N, classes]; positive is worse, 0 for the predicted class.
    """
    seen, clean, labels = scene.counted(metric), scene.predicted, scene.labels
    if metric.weighted:
        # Only their proportions matter, but near the ends of the doubles sums and quotients would not hold them.
        counted = np.where(seen, scene.weights, 0.0)
        scene = replace(scene, weights=np.ldexp(counted, -int(np.frexp(counted.max())[1])))
    every = np.arange(scene.classes)
    plan = unweighted(metric.plan)
    if isinstance(plan, MeanRate):
        total: FloatArray = np.zeros((len(scene), scene.classes))
        for weight, part in averaged(metric, scene):
            mine = seen & (labels == part.classes[0])
            kept = (every[None, :] == labels[:, None]).astype(np.float64)
            total += float(weight) / int(mine.sum()) * mine[:, None] * _lost(kept, clean)
        return total
    weights = scene.weights if metric.weighted else np.ones(len(scene))
    if not isinstance(plan, Rate):
        reference = clean if isinstance(plan, Stability) else labels
        kept = np.where(seen, weights, 0.0)
        right = (every[None, :] == reference[:, None]).astype(np.float64)
        lost: FloatArray = kept[:, None] / float(kept.sum()) * _lost(right, clean)
        return lost
    inside = np.isin(labels, metric.classes)
    mine = seen & (inside if plan.flips is Flip.LEAVE else ~inside)
    right = (np.isin(every, metric.classes)[None, :] == inside[:, None]).astype(np.float64)
    rated: FloatArray = _change(metric, plan, scene) * np.where(mine, weights, 0.0)[:, None] * _lost(right, clean)
    return rated


def _change(metric: Metric, plan: Rate, scene: Scene) -> float:
    """How much a rate changes by one flipped pixel of weight 1; no attack changes its denominator."""
    alike = scene if metric.weighted else replace(scene, weights=np.ones(len(scene)))
    cells, unit = weighed(metric, alike, scene.predicted)
    change = plan.formula.ratio.numerator.at(*((-1, 0, 1, 0) if plan.flips is Flip.LEAVE else (0, 1, 0, -1)))
    return float(abs(change) / (plan.formula.ratio.denominator.at(*cells) * unit))


def _lost(right: FloatArray, clean: IntArray) -> FloatArray:
    """What is right of the clean prediction and no more of each class."""
    lost: FloatArray = right[np.arange(len(clean)), clean][:, None] - right
    return lost


def useful(metric: Metric, scene: Scene, moves: Moves) -> tuple[Moves, FloatArray]:
    """Keep the moves that make the metric worse, per pixel the cheapest, with what each gains."""
    table = harm(metric, scene)
    helping = moves.only(table[moves.pixel, moves.target] > 0)
    # A pixel's harmful moves all gain the same: what is lost is that it was right.
    best = cheapest(helping)
    return best, table[best.pixel, best.target]


def deciding(metric: Metric, scene: Scene, moves: Moves, budget: float) -> tuple[Moves, solver.Solution | None]:
    """Solve on the pixels that can matter: of those that gain the same, the cheapest that fit the budget alone.

    Args:
        metric: a linear one.
        scene: the image.
        moves: the affordable moves.
        budget: 1, or 1 + SLACK.

    Returns:
        The moves the solver chose from and how many of each group, expanded to 0 and 1; None when it fails or there
        are more than MOST_GROUPS different gains on too many pixels.
    """
    best, gains = useful(metric, scene, moves)
    if not best.shared:
        return best, solver.Solution(np.ones(len(best), dtype=np.int64), True, float(gains.sum()))
    members = alike(best, gains)
    if members is None:
        found = solver.best_moves(gains / gains.sum(), best.share, best.pixel, budget)
        return best, found
    values = [float(gains[m[0]]) for m in members]
    groups = [solver.Group(float(v), best.share[m]) for v, m in zip(values, members, strict=True)]
    top = max((g.profit for g in groups), default=1.0)
    groups = [solver.Group(g.profit / top, g.costs) for g in groups]
    found = solver.best_counts(groups, budget)
    if found is None:
        return best, None
    taken = np.zeros(len(best), dtype=np.int64)
    for m, n in zip(members, found.taken.tolist(), strict=True):
        taken[m[:n]] = 1
    return best, solver.Solution(taken, found.optimal, found.value)


def alike(moves: Moves, gains: FloatArray) -> list[IntArray] | None:
    """Sort moves by what they gain, and of those that gain the same keep the cheapest that fit the budget alone.

    Args:
        moves: useful ones that share a budget.
        gains: of each.

    Returns:
        Indices, ascending in cost, for each gain; None when there are more than MOST_GROUPS.
    """
    members = []
    values = np.unique(gains)
    if len(values) > MOST_GROUPS:
        return None
    for v in values:
        mine = np.flatnonzero(gains == v)
        mine = mine[np.argsort(moves.share[mine], kind="stable")]
        few = int(np.searchsorted(np.cumsum(moves.share[mine]), 1 + 2 * SLACK, side="right")) + 2
        members.append(mine[:few])
    return members

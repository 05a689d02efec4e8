"""Any formulas over the counts of classes sharing one budget, as one integer program (MATH.md 3.D).

The counts of a class after the attack are linear in the moves. Its value is not, so it is tabled: one binary for
every pair of true and false positives the annotation allows, of which one is chosen and must name those counts. The
program grows with the square of the number of pixels and is for crops.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from robspec.ir.plans import Mean, MeanRate, Sum
from robspec.ir.types import Metric
from robspec.oracle import solver
from robspec.oracle.moves import Moves
from robspec.oracle.scene import Scene, averaged, counts, ratio_value

MOST_CELLS = 6000


def parts_of(metric: Metric, scene: Scene) -> list[tuple[Fraction, Metric]]:
    """A metric as a weighted sum of one-class formulas."""
    match metric.plan:
        case Sum():
            return list(metric.parts)
        case Mean() | MeanRate():
            return averaged(metric, scene)
        case _:
            return [(Fraction(1), metric)]


def deciding(metric: Metric, scene: Scene, moves: Moves, budget: float) -> tuple[Moves, solver.Solution | None]:
    """Solve for the worst value over every assignment of classes to pixels.

    Args:
        metric: a one-class formula, an average over classes, or a sum the user wrote out.
        scene: a small image; the metric is defined on it.
        moves: the affordable moves, to every class.
        budget: 1, or 1 + SLACK.

    Returns:
        The moves, and which are made; None when the solver fails or the program would be too large.
    """
    seen = scene.counted(metric)
    moves = moves.only(seen[moves.pixel])
    if not len(moves):
        return moves, solver.Solution(np.zeros(0, dtype=np.int64), True, 0.0)
    labels, clean = scene.labels, scene.predicted
    take = solver.cp.Variable(len(moves), boolean=True)
    constraints = solver.one_each(take, moves.pixel)
    if moves.shared:
        constraints.append((solver.UNIT * moves.share) @ take <= solver.UNIT * budget)
    objective: Any = 0
    cells = 0
    for weight, part in parts_of(metric, scene):
        inside = np.isin(labels, part.classes)
        tp, fp, _, _ = counts(labels[seen], clean[seen], part.classes)
        positives, negatives = int((seen & inside).sum()), int((seen & ~inside).sum())
        cells += (positives + 1) * (negatives + 1)
        if cells > MOST_CELLS:
            return moves, None
        crossing = np.isin(moves.target, part.classes).astype(np.int64) - np.isin(clean[moves.pixel], part.classes)
        mine = inside[moves.pixel]
        pairs = [(i, j) for i in range(positives + 1) for j in range(negatives + 1)]
        values = [ratio_value(part, (i, j, positives - i, negatives - j)) for i, j in pairs]
        cell = solver.cp.Variable(len(pairs), boolean=True)
        first, second = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
        constraints += [
            solver.cp.sum(cell) == 1,
            first @ cell == tp + np.where(mine, crossing, 0) @ take,
            second @ cell == fp + np.where(mine, 0, crossing) @ take,
        ]
        objective += np.array([float(weight * v) if v is not None else 0.0 for v in values]) @ cell
    sense = solver.cp.Maximize(objective) if metric.lower_is_better else solver.cp.Minimize(objective)
    return moves, solver.integer(solver.cp.Problem(sense, constraints), [take], len(moves))

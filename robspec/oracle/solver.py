"""The programs behind the comparisons, in cvxpy: integer ones by HiGHS, relaxed ones by Clarabel."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robspec.oracle._lazy import LazyModule
from robspec.oracle.scene import FloatArray, IntArray

cp: Any = LazyModule("cvxpy")
UNIT = 1024.0
"""The budget in the units of a constraint: costs below 2^-40 of it are the only ones HiGHS drops (under 1e-9)."""
SECONDS = 10.0
_FEASIBILITY = 1e-9
_TANGENTS = 48
_CUTS = 60


@dataclass(frozen=True, slots=True)
class Group:
    """Moves that help the attack equally: of them, the cheapest come first.

    Args:
        profit: what one of them gains.
        costs: ascending, in shares of the budget.
    """

    profit: float
    costs: FloatArray


@dataclass(frozen=True, slots=True)
class Solution:
    """A solver's answer.

    Args:
        taken: how many of each group, or 0 and 1 for each move.
        optimal: whether the solver claims optimality; False when it ran out of time.
        value: the objective it reports.
    """

    taken: IntArray
    optimal: bool
    value: float


def integer(problem: Any, variables: Sequence[Any], starts: int, seconds: float = SECONDS) -> Solution | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            problem.solve(
                solver=cp.HIGHS,
                mip_rel_gap=0.0,
                mip_abs_gap=1e-7,
                mip_feasibility_tolerance=_FEASIBILITY,
                primal_feasibility_tolerance=_FEASIBILITY,
                time_limit=seconds,
                random_seed=0,
                threads=1,
            )
        except cp.SolverError:
            return None
    if any(v.value is None for v in variables):
        return None
    taken = np.concatenate([np.rint(np.atleast_1d(v.value)).astype(np.int64).reshape(-1) for v in variables])
    return Solution(taken[:starts], problem.status == cp.OPTIMAL, float(problem.value))


def best_counts(groups: Sequence[Group], budget: float) -> Solution | None:
    """Maximise profit within a budget: a program with one integer per group.

    What n of a group cost is convex in n, the moves being in ascending order, so the largest of its tangents is
    exactly that cost at every integer. Tangents that are left out make attacks cheaper: the program is solved with a
    few, those at its answer are added, and the answer that then fits the budget is the optimum.

    Args:
        groups: the moves.
        budget: in the unit of their costs.

    Returns:
        How many of each group to take, or None when the solver fails.
    """
    groups_sums = [np.concatenate([[0.0], np.cumsum(UNIT * g.costs)]) for g in groups]
    points = [{round(i * len(g.costs) / _TANGENTS) for i in range(_TANGENTS)} for g in groups]
    found: Solution | None = Solution(np.zeros(0, dtype=np.int64), True, 0.0)
    for _ in range(_CUTS):
        if not groups:
            break
        found = _with_tangents(groups, groups_sums, points, budget)
        if found is None:
            break
        counts = found.taken.tolist()
        spent = sum(float(sums[n]) for sums, n in zip(groups_sums, counts, strict=True))
        around = [{n + i for i in range(-2, 3)} for n in counts]
        if spent <= UNIT * budget + 2 * _FEASIBILITY or all(a <= p for a, p in zip(around, points, strict=True)):
            break
        points = [p | a for p, a in zip(points, around, strict=True)]
    return found


def _with_tangents(
    groups: Sequence[Group], sums: Sequence[FloatArray], points: Sequence[set[int]], budget: float
) -> Solution | None:
    number = cp.Variable(len(groups), integer=True)
    spent = cp.Variable(len(groups), nonneg=True)
    limits = np.array([len(g.costs) for g in groups])
    constraints = [number >= 0, number <= limits, cp.sum(spent) <= UNIT * budget]
    for g, group in enumerate(groups):
        at = np.array(sorted(p for p in points[g] if 0 <= p < len(group.costs)), dtype=np.int64)
        slopes = UNIT * group.costs[at]
        constraints.append(spent[g] >= sums[g][at] - slopes * at + slopes * number[g])
    profits = np.array([g.profit for g in groups])
    return integer(cp.Problem(cp.Maximize(profits @ number), constraints), [number], len(groups))


def best_moves(profits: FloatArray, costs: FloatArray, pixels: IntArray, budget: float | None) -> Solution | None:
    """Maximise profit within a budget: a program with one binary per move.

    Args:
        profits: of each move; negative ones may be taken.
        costs: of each move.
        pixels: which pixel each move is of; a pixel makes one move at most.
        budget: in the unit of the costs; None when moves do not share one.

    Returns:
        Which moves to make, or None when the solver fails.
    """
    if not len(profits):
        return Solution(np.zeros(0, dtype=np.int64), True, 0.0)
    take = cp.Variable(len(profits), boolean=True)
    constraints = one_each(take, pixels)
    if budget is not None:
        constraints.append((UNIT * costs) @ take <= UNIT * budget)
    return integer(cp.Problem(cp.Maximize(profits @ take), constraints), [take], len(profits))


def one_each(take: Any, pixels: IntArray) -> list[Any]:
    """Constrain the moves of a pixel: one at most."""
    import scipy.sparse

    names, rows = np.unique(pixels, return_inverse=True)
    if len(names) == len(pixels):
        return []
    incidence = scipy.sparse.csr_array((np.ones(len(pixels)), (rows, np.arange(len(pixels)))))
    return [incidence @ take <= 1]


def relaxed(profits: FloatArray, costs: FloatArray, budget: float) -> float | None:
    """Maximise profit within a budget when moves can be made in part: the linear relaxation, by Clarabel.

    Args:
        profits: of each move, one per pixel, positive.
        costs: of each move.
        budget: in the unit of the costs.

    Returns:
        The optimum to about 1e-8, or None when the solver fails.
    """
    if not len(profits):
        return 0.0
    part = cp.Variable(len(profits))
    problem = cp.Problem(cp.Maximize(profits @ part), [costs @ part <= budget, part >= 0, part <= 1])
    return float(problem.value) if relax(problem) else None


def relax(problem: Any) -> bool:
    """Solve a problem without integers by Clarabel, as accurately as it can.

    Args:
        problem: of cvxpy.

    Returns:
        Whether an optimum was found.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tolerance in (1e-10, 1e-8):
            try:
                problem.solve(solver=cp.CLARABEL, tol_gap_abs=tolerance, tol_gap_rel=tolerance, tol_feas=tolerance)
            except cp.SolverError:
                continue
            if problem.status == cp.OPTIMAL:
                return True
    return False

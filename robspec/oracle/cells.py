"""What pixels give up that a fixed up-sampling makes of the same few nodes: an integer program over nodes' energies.

It shares no code with the bound: nodes, and no cells of them, share the budget, every pixel takes of its own nodes
what its weights ask for, and which pixels to give up is decided in integers. What it finds no bound may exclude.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from robspec.ir.plans import Accuracy, Quotient, Rate, Stability
from robspec.ir.types import Metric
from robspec.oracle import pooled, solver
from robspec.oracle._lazy import LazyModule
from robspec.oracle.scene import BoolArray, FloatArray, IntArray, Scene, value, worst_of
from robspec.semantics.classify import Flip

cp: Any = LazyModule("cvxpy")
MOST = 400
"""Pixels of a program: those that are cheapest. Fewer never make what is found an attack that is none."""
_ROUNDS = 2
"""How often a pooled value is brought nearer to the worst."""
SECONDS = 1.0
"""Of each integer program; what it has found by then is a choice like any other."""
_CUTS = 3
"""How often what an answer breaks is added."""
_LESS = 1e-5
"""By which part the budget is smaller than it is, so that what a solver rounds is within it."""


@dataclass(frozen=True, slots=True)
class Nodes:
    """Coarse logits of an image, and what its pixels are made of.

    Args:
        logits: float64 [n, K].
        of: int64 [N, S], the nodes of each pixel, in reading order.
        weights: float64 [N, S], theirs; 0 for none.
    """

    logits: FloatArray
    of: IntArray
    weights: FloatArray

    def pixels(self) -> FloatArray:
        """Full-size logits, [N, K]."""
        found: FloatArray = np.einsum("nsk,ns->nk", self.logits[self.of], self.weights)
        return found


@dataclass(frozen=True, slots=True)
class Found:
    """A choice of pixels that the budget pays for.

    Args:
        value: of the metric, exact.
        pixels: how many are given up.
        complete: whether no choice is worse, of all pixels within reach.
    """

    value: Fraction
    pixels: int
    complete: bool


def is_covered(metric: Metric) -> bool:
    """Tell whether the metric is one that cells bound, image by image."""
    alone = isinstance(metric.plan, Accuracy | Stability) and metric.rank == 1
    return not metric.weighted and (alone or (isinstance(metric.plan, Quotient | Rate) and metric.formula.linear))


def worst(metric: Metric, scene: Scene, nodes: Nodes, reach: Fraction, claimed: Fraction) -> Found | None:
    """Look for pixels that nodes within reach give up together, at which a metric is worse than is claimed.

    Args:
        metric: one that is covered.
        scene: the image; its logits are those of `nodes.pixels`.
        nodes: the same before the up-sampling.
        reach: how far the coarse logits may move, in l2.
        claimed: what the metric is said to be worth at least; decides what each kind of flip is worth.

    Returns:
        What was found, None where nothing could be.
    """
    given = _given_up(metric, scene, nodes, reach, claimed)
    found = None if given is None else value(metric, scene, given.after)
    return None if given is None or found is None else Found(found, given.pixels, given.complete)


def worst_together(metric: Metric, scenes: Sequence[Scene], nodes: Sequence[Nodes], reach: Fraction) -> Found | None:
    """Look for pixels of several images, each within reach by itself, at which a pooled metric is worse.

    Args:
        metric: of the pooled family; a mean has each of its classes at its own worst.
        scenes: the images; their logits are those of `nodes.pixels`.
        nodes: the same before the up-sampling.
        reach: how far the coarse logits of each may move, in l2.

    Returns:
        What was found, None where nothing could be.
    """
    values, number, complete = [], 0, True
    for part in pooled.parts_of(metric, scenes):
        sign = -1 if part.lower_is_better else 1
        best = pooled.value_of(part, scenes, [scene.predicted for scene in scenes])
        if best is None:
            return None
        for _ in range(_ROUNDS):
            given = [_given_up(part, scene, n, reach, best) for scene, n in zip(scenes, nodes, strict=True)]
            made = [g for g in given if g is not None]
            if len(made) < len(scenes):
                return None
            after = pooled.value_of(part, scenes, [g.after for g in made])
            found = worst_of(part) if after is None else after
            number, complete = number + sum(g.pixels for g in made), complete and all(g.complete for g in made)
            if sign * found >= sign * best:
                break
            best = found
        values.append(best)
    return Found(sum(values, Fraction(0)) / len(values), number, complete) if values else None


@dataclass(frozen=True, slots=True)
class _Given:
    """What is predicted after some pixels are given up, how many, and whether all within reach were looked at."""

    after: IntArray
    pixels: int
    complete: bool


def _given_up(metric: Metric, scene: Scene, nodes: Nodes, reach: Fraction, claimed: Fraction) -> _Given | None:
    leave, enter = _kinds(metric, scene)
    single = scene.logits.shape[1] == 1
    lengths = (nodes.weights**2).sum(axis=1)
    # An attack is dearer by what doubles may have lost of margins and sums.
    size = float(np.abs(nodes.logits).max()) * float(np.abs(nodes.weights).sum(axis=1).max())
    margins = _margins(metric, scene) + 2.0**-44 * size
    energies = margins**2 / lengths / (1 if single else 2) * (1 + 1e-9)
    budget = float(reach) ** 2 * (1 - _LESS)
    near = np.flatnonzero((leave | enter) & (energies <= budget) & (budget > 0))
    within = len(near)
    near = near[np.argsort(energies[near], kind="stable")][:MOST]
    chosen = np.zeros(0, np.int64)
    if len(near):
        gains = np.where(leave[near], *_worth(metric, claimed))
        taken = _solved(energies[near] / budget, gains, nodes.of[near], nodes.weights[near])
        if taken is None:
            return None
        chosen = near[taken]
    after = scene.predicted.copy()
    after[chosen] = _other(metric, scene)[chosen]
    return _Given(after, len(chosen), within <= MOST)


def _kinds(metric: Metric, scene: Scene) -> tuple[BoolArray, BoolArray]:
    """Which pixels may leave, and which may enter."""
    seen, predicted, plan = scene.counted(metric), scene.predicted, metric.plan
    none = np.zeros(len(scene), np.bool_)
    if isinstance(plan, Stability):
        return seen, none
    if isinstance(plan, Accuracy):
        return seen & (predicted == scene.labels), none
    inside, ahead = np.isin(scene.labels, metric.classes), np.isin(predicted, metric.classes)
    only = plan.flips if isinstance(plan, Rate) else None
    leave, enter = seen & inside & ahead, seen & ~inside & ~ahead
    return (none if only is Flip.ENTER else leave), (none if only is Flip.LEAVE else enter)


def _margins(metric: Metric, scene: Scene) -> FloatArray:
    """How far each pixel is from another class, or from the other side of the set."""
    z = scene.logits
    if z.shape[1] == 1:
        return np.abs(z[:, 0])
    if isinstance(metric.plan, Accuracy | Stability):
        ascending = np.sort(z, axis=1)
        return np.asarray(ascending[:, -1] - ascending[:, -2])
    inside = np.isin(np.arange(z.shape[1]), metric.classes)
    found: FloatArray = np.abs(z[:, inside].max(axis=1) - z[:, ~inside].max(axis=1))
    return found


def _other(metric: Metric, scene: Scene) -> IntArray:
    """A class that each pixel is taken for once it is given up."""
    classes = np.arange(scene.classes)
    if isinstance(metric.plan, Accuracy | Stability):
        return np.asarray((scene.predicted + 1) % scene.classes)
    inside = np.isin(classes, metric.classes)
    ahead = np.isin(scene.predicted, metric.classes)
    found: IntArray = np.where(ahead, classes[~inside][0], classes[inside][0])
    return found


def _worth(metric: Metric, claimed: Fraction) -> tuple[float, float]:
    """What a pixel that leaves and one that enters take off num - claimed den, relative to each other."""
    if isinstance(metric.plan, Accuracy | Stability):
        return 1.0, 0.0
    ratio, sign = metric.formula.ratio, -1 if metric.lower_is_better else 1
    found = []
    for change in ((-1, 0, 1, 0), (0, 1, 0, -1)):
        above, below = (Fraction(part.at(*change)) for part in (ratio.numerator, ratio.denominator))
        found.append(max(sign * (claimed * below - above), Fraction(0)))
    most = max(*found, Fraction(1, 2**60))
    return float(found[0] / most), float(found[1] / most)


def _solved(energies: FloatArray, gains: FloatArray, of: IntArray, weights: FloatArray) -> IntArray | None:
    """Choose pixels so that their nodes have the energy that each takes, and all nodes together no more than 1.

    A pixel of weights u takes sum of |u_c| sqrt(e_c) >= ||u|| sqrt(its energy), which is concave in e: for any r > 0
    it follows that sum of r_c e_c >= energy ||u||^2 / sum of u_c^2 / r_c. The program is solved with r = 1 alone;
    what its answer breaks is added, at the r that it breaks most, until nothing is broken.

    Args:
        energies: float64 [n], what each pixel takes of all its nodes alike.
        gains: float64 [n], what giving it up is worth.
        of: int64 [n, S], the nodes of each.
        weights: float64 [n, S], theirs; 0 for none.
    """
    made = weights != 0
    named = np.where(made, of, -1)
    nodes, places = np.unique(named, return_inverse=True)
    places = places.reshape(named.shape)
    strength = np.zeros((len(energies), len(nodes)))
    np.put_along_axis(strength, places, np.abs(weights), axis=1)
    strength[:, nodes < 0] = 0.0
    needed = energies * (strength**2).sum(axis=1)
    rows, sides = [np.where(strength > 0, 1.0, 0.0)], [np.diag(energies)]
    chosen = np.zeros(0, np.int64)
    for _ in range(_CUTS):
        energy, given_up = cp.Variable(len(nodes), nonneg=True), cp.Variable(len(energies), boolean=True)
        constraints = [np.vstack(rows) @ energy >= np.vstack(sides) @ given_up, cp.sum(energy) <= 1]
        problem = cp.Problem(cp.Maximize(gains @ given_up), constraints)
        found = solver.integer(problem, [given_up], len(energies), SECONDS)
        if found is None:
            return None
        chosen = np.flatnonzero(found.taken > 0)
        least = _least(strength[chosen], np.sqrt(needed[chosen]))
        if least is None or least[0] <= 1 + _LESS / 2:
            break
        for held in (np.maximum(np.asarray(energy.value), 0.0), least[1] / least[0]):
            held = held + _LESS / len(held)
            reached = strength @ np.sqrt(held)
            broken = chosen[reached[chosen] ** 2 < needed[chosen]]
            rows.append(strength[broken] / np.sqrt(held))
            sides.append(np.zeros((len(broken), len(energies))))
            sides[-1][np.arange(len(broken)), broken] = needed[broken] / reached[broken]
    return _affordable(chosen, strength, np.sqrt(needed), gains)


def _affordable(chosen: IntArray, strength: FloatArray, needed: FloatArray, gains: FloatArray) -> IntArray | None:
    """Leave out pixels that cost most for what they gain, until the rest is within the budget."""
    while len(chosen):
        least = _least(strength[chosen], needed[chosen])
        if least is None:
            return None
        if least[0] <= 1 + _LESS / 2:
            break
        few = max(1, len(chosen) // 20)
        cheap = np.argsort(least[2] / np.maximum(gains[chosen], 1e-30), kind="stable")[: len(chosen) - few]
        chosen = np.sort(chosen[cheap])
    return chosen


def _least(strength: FloatArray, needed: FloatArray) -> tuple[float, FloatArray, FloatArray] | None:
    """Find the least energy of all nodes at which some pixels have what they need.

    Args:
        strength: float64 [n, nodes], weights without signs.
        needed: float64 [n], what the sum of weights times square roots of energies must reach.

    Returns:
        The energy, what each node has of it, and how much dearer each pixel makes it; None where it was not found.
    """
    if not len(strength):
        return 0.0, np.zeros(strength.shape[1]), np.zeros(0)
    roots = cp.Variable(strength.shape[1])
    reaching = strength @ roots >= needed
    problem = cp.Problem(cp.Minimize(cp.sum_squares(roots)), [reaching])
    if not solver.relax(problem) or roots.value is None:
        return None
    made = np.maximum(np.asarray(roots.value), 0.0)
    # What a solver's tolerances leave out is made up for.
    reached = strength @ made
    if np.any((reached <= 0) & (needed > 0)):
        return None
    made *= max(1.0, float(np.max(np.where(needed > 0, needed / np.maximum(reached, 1e-300), 0.0))))
    return float(made @ made), made**2, np.abs(np.asarray(reaching.dual_value)).reshape(-1)

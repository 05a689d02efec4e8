"""What pixels give up that a fixed up-sampling makes of the same few nodes: an integer program over nodes' energies.

It shares no code with the bound: pixels are gathered by the nodes that they are made of, nodes and not colours share
the budget, and which pixels to give up is decided in integers. What it finds the bound must not exclude.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from robspec.ir.plans import Accuracy, Quotient, Rate, Stability
from robspec.ir.types import Metric
from robspec.oracle import solver
from robspec.oracle._lazy import LazyModule
from robspec.oracle.scene import BoolArray, FloatArray, IntArray, Scene, value
from robspec.semantics.classify import Flip

cp: Any = LazyModule("cvxpy")
MOST = 1500
"""Pixels of a program: those that are cheapest. Fewer never make what is found an attack that is none."""
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
        taken = _solved(energies[near] / budget, gains, nodes.of[near], nodes.weights[near] != 0)
        if taken is None:
            return None
        chosen = near[taken]
    after = scene.predicted.copy()
    after[chosen] = _other(metric, scene)[chosen]
    found = value(metric, scene, after)
    return None if found is None else Found(found, len(chosen), within <= MOST)


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


def _solved(energies: FloatArray, gains: FloatArray, of: IntArray, made: BoolArray) -> IntArray | None:
    """Choose pixels so that the nodes of each have its energy, and all nodes together no more than 1."""
    named = np.where(made, of, -1)
    nodes, places = np.unique(named, return_inverse=True)
    places = places.reshape(named.shape)
    energy, given_up = cp.Variable(len(nodes), nonneg=True), cp.Variable(len(energies), boolean=True)
    member = np.zeros((len(energies), len(nodes)))
    np.put_along_axis(member, places, 1.0, axis=1)
    member[:, nodes < 0] = 0.0
    constraints = [member @ energy >= cp.multiply(energies, given_up), cp.sum(energy) <= 1]
    found = solver.integer(cp.Problem(cp.Maximize(gains @ given_up), constraints), [given_up], len(energies))
    if found is None:
        return None
    held = np.maximum(np.asarray(energy.value), 0.0)
    taken = np.flatnonzero(found.taken > 0)
    # What a solver's tolerances leave out is made up for, within what the budget was lessened by.
    for pixel in taken.tolist():
        short = energies[pixel] - member[pixel] @ held
        held[int(member[pixel].argmax())] += max(short, 0.0)
    return taken if held.sum() <= 1 + _LESS / 2 else None

"""What rounding leaves open of an image: the most that its clean value may be, and thresholds that follow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import numpy as np

from robspec.ir.types import Degraded, Metric, Objective, Program, WorstCaseQuery
from robspec.oracle.scene import Scene
from robspec.recheck.conditions import conditions
from robspec.recheck.image import clean_value
from robspec.semantics.objective import Threshold


def best_value(metric: Metric, scene: Scene, delta: Fraction) -> Fraction | None:
    """What the clean image is worth over the reals at most, None where that is undefined.

    Args:
        metric: not pooled.
        scene: the image, its logits as computed.
        delta: bound of the l2 norm of their error.
    """
    return clean_value(metric, favoured(scene, delta, metric.rank)) if delta else clean_value(metric, scene)


def favoured(scene: Scene, delta: Fraction, rank: int = 1) -> Scene:
    """Put every label among the largest logits wherever these are within 2 delta of it, ten digits being kept.

    Args:
        scene: the image.
        delta: bound of the l2 norm of the error.
        rank: among how many of the largest a label has to be.
    """
    near = 2.0 * _above(delta) * (1.0 + 1e-9)
    logits, labels = scene.logits.copy(), scene.labels
    if logits.shape[1] == 1:
        for i in np.flatnonzero((np.abs(logits[:, 0]) <= near) & ((labels == 0) | (labels == 1))).tolist():
            logits[i, 0] = 1.0 if labels[i] == 1 else -1.0
        return replace(scene, logits=logits)
    bars = np.sort(logits, axis=1)[:, -min(rank, logits.shape[1])]
    for i in np.flatnonzero((labels >= 0) & (labels < logits.shape[1])).tolist():
        if bars[i] - logits[i, labels[i]] <= near:
            top = logits[i].max()
            logits[i, labels[i]] = top + max(abs(top), 1.0)
    return replace(scene, logits=logits)


def grounded(objective: Objective, best: Mapping[Metric, Fraction | None]) -> Objective:
    """Write the thresholds of conditions as numbers, those of the best clean values.

    Args:
        objective: conditions whose thresholds rise with the clean value, and no faster.
        best: of every metric; a metric without a value keeps its threshold.

    Raises:
        ValueError: a threshold falls with the clean value, or grows faster.
    """
    if not isinstance(objective, Degraded):
        return replace(objective, parts=tuple(grounded(part, best) for part in objective.parts))
    value, threshold = best[objective.metric], objective.threshold
    if not 0 <= threshold.slope <= 1:
        raise ValueError("a threshold that falls with the clean value, or grows faster")
    return objective if value is None else replace(objective, threshold=Threshold(threshold.at(value)))


def uncertified(program: Program) -> str:
    """Say what in a program no certificate about the function over the reals speaks of; empty for nothing."""
    for prop in program.properties:
        query = prop.query
        if isinstance(query, WorstCaseQuery):
            continue
        leaves = [leaf for objective in query.objectives for leaf in conditions(objective)]
        if any(not 0 <= leaf.threshold.slope <= 1 for leaf in leaves):
            return f"the threshold of {prop.name} falls with the clean value, or grows faster"
    return ""


def _above(value: Fraction) -> float:
    """The least double that is no smaller."""
    found = float(value)
    return found if Fraction(found) >= value else math.nextafter(found, math.inf)

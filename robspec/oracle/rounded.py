"""What rounding leaves open of an image: the most that its clean value may be, and thresholds that follow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import numpy as np

from robspec.ir.plans import Mean, PooledMean, Sum
from robspec.ir.types import Degraded, Metric, Objective
from robspec.oracle.scene import Scene, value
from robspec.semantics.objective import Threshold


def best_value(metric: Metric, scene: Scene, delta: Fraction) -> Fraction | None:
    """What the clean image is worth over the reals at most, None where that is undefined.

    Args:
        metric: not pooled.
        scene: the image, its logits as computed.
        delta: bound of the l2 norm of their error.
    """
    if isinstance(metric.plan, Sum):
        parts = [(w, best_value(part, scene, delta)) for w, part in metric.parts]
        known = [w * v for w, v in parts if v is not None]
        return sum(known, Fraction(0)) if len(known) == len(parts) else None
    better = favoured(scene, delta, metric) if delta else scene
    if metric.rank == 1:
        return value(metric, better, better.predicted)
    seen = better.counted(metric)
    total = int(seen.sum())
    return Fraction(int((seen & better.among(metric.rank)).sum()), total) if total else None


def favoured(scene: Scene, delta: Fraction, metric: Metric) -> Scene:
    """Decide in favour of a metric wherever logits are level within 2 delta, ten digits being kept.

    A label comes first; then, of a class set, a class on the label's side; of an average over classes, a class that
    nothing is annotated with, one more than there are.

    Args:
        scene: the image.
        delta: bound of the l2 norm of the error.
        metric: no sum of formulas.
    """
    near = 2.0 * above(delta) * (1.0 + 1e-9)
    logits, labels, classes = scene.logits.copy(), scene.labels, scene.logits.shape[1]
    if classes == 1:
        for i in np.flatnonzero((np.abs(logits[:, 0]) <= near) & ((labels == 0) | (labels == 1))).tolist():
            logits[i, 0] = 1.0 if labels[i] == 1 else -1.0
        return replace(scene, logits=logits)
    average = isinstance(metric.plan, Mean | PooledMean)
    if average:
        logits = np.concatenate([logits, np.full((len(logits), 1), -1e308)], axis=1)
    for i in np.flatnonzero((labels >= 0) & (labels < classes)).tolist():
        row = scene.logits[i]
        bar = sorted(row)[-min(metric.rank, classes)]
        open_ = [k for k in range(classes) if bar - row[k] <= near]
        mine = int(labels[i])
        chosen = [mine] if mine in open_ else []
        if not chosen and average and len(open_) > 1:
            chosen = [classes]
        if not chosen and metric.classes and not average:
            chosen = [k for k in open_ if (k in metric.classes) == (mine in metric.classes)]
        if chosen:
            logits[i, chosen[0]] = row.max() + max(abs(row.max()), 1.0)
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


def above(value: Fraction) -> float:
    """The least double that is no smaller."""
    found = float(value)
    return found if Fraction(found) >= value else math.nextafter(found, math.inf)

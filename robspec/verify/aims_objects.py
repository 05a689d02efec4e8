"""What an attack on a detector aims at: which scores to pull below the threshold, and which to lift above it.

Three kinds. Vanishing pulls down whatever proves that objects are found; fabrication lifts locations where nothing
is; mislabelling pulls an object's class down and lifts another one in its place. The cheapest are aimed at first, as
many as clean scores and the constant leave within reach, and fewer. An aim is a guess: what comes of it is judged
by the pipeline itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from robspec.bounds.objects import classes_of
from robspec.bounds.scene import Scene, cut_of
from robspec.ir.plans import Precisions
from robspec.ir.types import Detector, Metric
from robspec.kernels.detection import FloatArray, IntArray, places

SHARES = (1.0, 0.5, 0.0)
"""Of the objects or locations that the budget pays for: all, half, and one."""

Group = tuple[float, list[tuple[int, int, int]]]
"""A price in squared scores, and what has to move: class, location, -1 for down or 1 for up."""


def kinds(metric: Metric) -> tuple[str, ...]:
    """Which attacks make a metric worse."""
    if metric.mislabelled:
        return ("mislabelling",)
    if isinstance(metric.plan, Precisions):
        return ("vanishing", "fabrication")
    ratio = metric.formula.ratio
    exponents = [e for part in (ratio.numerator, ratio.denominator) for e, _ in part.terms]
    found = []
    if any(e[0] or e[2] for e in exponents):
        found.append("vanishing")
    if any(e[1] for e in exponents):
        found.append("fabrication")
    return tuple(found)


def aims(metric: Metric, scene: Scene, detector: Detector, kind: str, share: float, budget: float) -> IntArray:
    """Choose what to move on one image.

    Args:
        metric: what is aimed at.
        scene: the clean image.
        detector: what is done with its scores.
        kind: "vanishing", "fabrication" or "mislabelling".
        share: of what the budget pays for, by the prices of clean scores.
        budget: L eps, how far scores can move.

    Returns:
        [K, N] of -1, 0 and 1: down, left alone, up.
    """
    found = np.zeros(scene.scores.shape, dtype=np.int64)
    make = {"vanishing": _vanishing, "fabrication": _fabrication, "mislabelling": _mislabelling}[kind]
    groups = sorted(make(metric, scene, detector), key=lambda group: group[0])
    paid = int((np.cumsum([price for price, _ in groups]) <= budget**2).sum())
    for _, moves in groups[: max(1, round(share * paid))]:
        for k, i, way in moves:
            found[k, i] = way
    return found


def _vanishing(metric: Metric, scene: Scene, detector: Detector) -> Iterator[Group]:
    for k in classes_of(metric, [scene]):
        for m in range(len(scene.objects.real(k))):
            group = _falling(scene, detector, k, m)
            if group[1]:
                yield group


def _falling(scene: Scene, detector: Detector, k: int, m: int) -> Group:
    """Pull down what an object is found by."""
    firing = np.flatnonzero(_covering(scene, detector, k, m) & (scene.scores[k] >= cut_of(detector)))
    chosen = firing[np.argsort(scene.scores[k, firing])]
    if detector.match == "location":
        chosen = chosen[: max(len(chosen) - detector.least + 1, 0)]
    gaps = scene.scores[k, chosen] - cut_of(detector)
    return float((gaps**2).sum()), [(k, int(i), -1) for i in chosen]


def _fabrication(metric: Metric, scene: Scene, detector: Detector) -> Iterator[Group]:
    for k in classes_of(metric, [scene]):
        z, cut = scene.scores[k], cut_of(detector)
        free = np.ones(len(z), dtype=np.bool_)
        if detector.match == "location":
            if scene.centres is not None:
                free = places.elsewhere(scene.centres, scene.objects)
            taken: list[int] = []
        else:
            for m in range(len(scene.objects.real(k))):
                free &= ~_covering(scene, detector, k, m)
            taken = np.flatnonzero(z >= cut).tolist()
        for i in np.argsort(-z, kind="stable").tolist():
            # What overlaps another detection would be suppressed by it.
            if z[i] < cut and free[i] and not _overlapping(scene, detector, i, taken):
                if detector.match != "location":
                    taken.append(i)
                yield float((cut - z[i]) ** 2), [(k, i, 1)]


def _mislabelling(metric: Metric, scene: Scene, detector: Detector) -> Iterator[Group]:
    cut = cut_of(detector)
    for k in classes_of(metric, [scene]):
        for m in range(len(scene.objects.real(k))):
            price, moves = _falling(scene, detector, k, m)
            where = np.flatnonzero(_covering(scene, detector, k, m))
            best: Group | None = None
            for c in (c for c in range(len(scene.scores)) if c != k):
                rising = where[np.argsort(-scene.scores[c, where])][: detector.least]
                gaps = np.maximum(cut - scene.scores[c, rising], 0.0)
                group = (price + float((gaps**2).sum()), [*moves, *((c, int(i), 1) for i in rising)])
                if len(rising) == detector.least and (best is None or group[0] < best[0]):
                    best = group
            if best is not None:
                yield best


def _covering(scene: Scene, detector: Detector, k: int, m: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Which locations can stand for an object: [N]."""
    real = scene.objects.real(k)
    if detector.match == "location" and scene.centres is not None:
        return np.asarray(places.owned(scene.centres, real)[:, m])
    if scene.boxes is None or detector.overlap is None:
        raise ValueError("overlaps need boxes")
    return np.asarray(_overlap(scene.boxes, real[m]) >= float(detector.overlap))


def _overlapping(scene: Scene, detector: Detector, i: int, taken: Sequence[int]) -> bool:
    if detector.nms is None or scene.boxes is None or not len(taken):
        return False
    return bool((_overlap(scene.boxes[taken], scene.boxes[i]) > float(detector.nms)).any())


def _overlap(boxes: FloatArray, one: FloatArray) -> FloatArray:
    sides = np.minimum(boxes[:, 2:], one[2:]) - np.maximum(boxes[:, :2], one[:2])
    both = np.maximum(sides, 0).prod(axis=1)
    areas = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1) + np.maximum(one[2:] - one[:2], 0).prod()
    return np.asarray(both / np.maximum(areas - both, 1e-300))

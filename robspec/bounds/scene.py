"""One image as a detector sees it: scores, boxes and annotation, and what is certain of them within a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from robspec.ir.types import Detector
from robspec.kernels.detection import FloatArray, Ledger, Objects, Pipeline, Reach, Threshold, cpu, pipeline, places
from robspec.semantics.constant import Constant


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """One image.

    Args:
        scores: [K, N], logits, or numbers that are compared with the threshold as they are.
        boxes: [N, 4], x1, y1, x2, y2 in input pixels; None where the specification does without.
        centres: [N, 2] of the locations; None without strides.
        objects: the annotation.
    """

    scores: FloatArray
    boxes: FloatArray | None
    centres: FloatArray | None
    objects: Objects


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The detections of one class of an image, the best first.

    Args:
        scores: of the kept ones that are right or wrong, descending.
        right: which of them are matched.
        total: how many objects there are.
    """

    scores: FloatArray
    right: FloatArray
    total: int


def threshold_of(detector: Detector) -> Threshold:
    """The logit at which locations fire, as far as it is known."""
    if detector.of == "sigmoid":
        return Threshold.of_probability(detector.threshold)
    return Threshold.of_score(detector.threshold)


def cut_of(detector: Detector) -> float:
    """The logit from which locations fire where nothing is attacked."""
    tau = detector.threshold
    return float(tau) if detector.of == "score" else math.log(tau / (1 - tau))


def centres_of(strides: Sequence[int], height: int, width: int) -> FloatArray:
    """List the centres of all locations, level after level, row after row.

    Args:
        strides: of the levels.
        height: of the input.
        width: of the input.

    Returns:
        [N, 2], x and y in input pixels; a level has ceil(side / stride) rows and columns.
    """
    levels = []
    for stride in strides:
        y, x = (stride * (np.arange(-(-side // stride)) + 0.5) for side in (height, width))
        levels.append(np.stack(np.meshgrid(x, y), -1).reshape(-1, 2))
    return np.concatenate(levels)


def reach_of(eps: Fraction, constant: Constant, cells: int) -> Reach:
    """What an attack of a size can do to an image of so many scores."""
    return Reach.of(eps, constant.value, constant.output_norm.p, cells, constant.boxes)


def certain(
    scene: Scene,
    detector: Detector,
    classes: Sequence[int],
    reach: Reach,
    *,
    threshold: Threshold | None = None,
    overlap: Fraction | None = None,
) -> Ledger:
    """Find what is certain of some classes of an image, all attacked from one budget.

    Args:
        scene: the image.
        detector: what is done with its scores.
        classes: asked about.
        reach: what an attack can do.
        threshold: another one than the detector's, above it.
        overlap: of a match, another one than the detector's.

    Returns:
        The classes' sum. Where more could be kept than the detector's limit, nothing is certainly found.

    Source: DETECTION.md D2 to D4.
    """
    at = threshold_of(detector) if threshold is None else threshold
    each = {k: _one(scene, detector, k, reach, at, overlap) for k in classes}
    total = Ledger(0, (), 0, (), reach.budget.limit)
    for ledger in each.values():
        total += ledger
    if total.found and crowded(scene, detector, reach, at):
        return Ledger(total.objects, (), total.kept, total.appear, total.limit)
    return total


def crowded(scene: Scene, detector: Detector, reach: Reach, at: Threshold) -> bool:
    """Whether the detector's limit may cut out what proves that an object is found."""
    return detector.limit is not None and _most(scene, reach, at) > detector.limit


def _one(scene: Scene, detector: Detector, k: int, reach: Reach, at: Threshold, overlap: Fraction | None) -> Ledger:
    if detector.match == "location":
        if scene.centres is None:
            raise ValueError("locations need centres")
        return places.read(scene.scores[k], scene.centres, scene.objects, k, at, detector.least, reach)
    if scene.boxes is None or detector.overlap is None:
        raise ValueError("overlaps need boxes")
    line = Pipeline(at, detector.nms, detector.overlap if overlap is None else overlap)
    return cpu.read(scene.scores[k], scene.boxes, scene.objects, k, line, reach)


def _most(scene: Scene, reach: Reach, at: Threshold) -> int:
    """How many detections of all classes together an attack can have kept, crowds and all; generous."""
    # One score moves at most `one`, so that whatever fires is among these.
    return int((scene.scores >= cpu.floor(at, reach)).sum())


def clean(
    scene: Scene,
    detector: Detector,
    classes: Sequence[int],
    *,
    overlap: Fraction | None = None,
    most: int | None = None,
) -> dict[int, Found]:
    """Run the detector where nothing is attacked.

    Args:
        scene: the image.
        detector: what is done with its scores.
        classes: asked about.
        overlap: of a match, another one than the detector's.
        most: detections of a class that are looked at, the best ones; None for all.

    Returns:
        For each class its detections; overlaps exact, equal scores in the order of locations. Where matches are by
        location, an object is one detection, of no particular score.
    """
    if detector.match == "location":
        cut, found = cut_of(detector), {}
        for k in classes:
            if scene.centres is None:
                raise ValueError("locations need centres")
            seen, wrong, missed = places.counted(
                scene.scores[k], scene.centres, scene.objects, k, cut, detector.least
            )
            right = np.repeat(np.array([1.0, 0.0]), [seen, wrong])
            found[k] = Found(np.zeros(seen + wrong), right, seen + missed)
        return found
    if detector.overlap is None:
        raise ValueError("overlaps need boxes")
    detections, found = kept(scene, detector, classes), {}
    for k in classes:
        best = detections[k]
        if most is not None:
            best = pipeline.Kept(best.scores[:most], best.boxes[:most])
        o = detector.overlap if overlap is None else overlap
        hit, out = pipeline.matched(best.boxes, scene.objects, k, o)
        found[k] = Found(best.scores[~out], hit[~out].astype(np.float64), len(scene.objects.real(k)))
    return found


def kept(scene: Scene, detector: Detector, classes: Sequence[int]) -> dict[int, pipeline.Kept]:
    """Run threshold, suppression and limit where nothing is attacked; arguments as for `clean`."""
    if scene.boxes is None:
        raise ValueError("overlaps need boxes")
    cut = cut_of(detector)
    every = range(len(scene.scores)) if detector.limit is not None else classes
    found = {k: pipeline.kept(scene.scores[k], scene.boxes, cut, detector.nms) for k in every}
    return found if detector.limit is None else _best(found, detector.limit)


def _best(kept: dict[int, pipeline.Kept], limit: int) -> dict[int, pipeline.Kept]:
    """Keep the detections with the highest scores over all classes."""
    order = sorted(((-s, k) for k, found in kept.items() for s in found.scores.tolist()))[:limit]
    counts = {k: sum(1 for _, j in order if j == k) for k in kept}
    return {k: pipeline.Kept(found.scores[: counts[k]], found.boxes[: counts[k]]) for k, found in kept.items()}


def totals(found: dict[int, Found]) -> tuple[int, int, int]:
    """TP, FP and FN of all classes together."""
    tp = sum(int(f.right.sum()) for f in found.values())
    fp = sum(len(f.right) for f in found.values()) - tp
    return tp, fp, sum(f.total for f in found.values()) - tp

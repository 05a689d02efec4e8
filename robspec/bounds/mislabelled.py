"""Mislabelled objects of one image as a count of their own: TP for those that are not, FN for those that are."""

from __future__ import annotations

from collections.abc import Sequence

from robspec.bounds.scene import Scene, certain, clean, crowded, cut_of, kept, threshold_of, totals
from robspec.ir.types import Detector, Metric
from robspec.kernels.detection import Ledger, Pipeline, Reach, mislabelled


def ledger_of(metric: Metric, scene: Scene, detector: Detector, classes: Sequence[int], reach: Reach) -> Ledger:
    """Find what is certain of what a metric counts.

    Args:
        metric: of objects.
        scene: the image.
        detector: what is done with its scores.
        classes: asked about.
        reach: what an attack can do.

    Source: DETECTION.md D2, D3 and D5.
    """
    if not metric.mislabelled:
        return certain(scene, detector, classes, reach)
    at = threshold_of(detector)
    if detector.match == "location":
        if scene.centres is None:
            raise ValueError("locations need centres")
        parts = (scene.scores, scene.centres, scene.objects, classes, at)
        return mislabelled.read_locations(*parts, detector.least, reach)
    if scene.boxes is None or detector.overlap is None:
        raise ValueError("overlaps need boxes")
    line = Pipeline(at, detector.nms, detector.overlap)
    cut = crowded(scene, detector, reach, at)
    return mislabelled.read(scene.scores, scene.boxes, scene.objects, classes, line, reach, crowded=cut)


def counts_of(metric: Metric, scene: Scene, detector: Detector, classes: Sequence[int]) -> tuple[int, int, int]:
    """Count TP, FP and FN as a metric has them, where nothing is attacked; arguments as for `ledger_of`."""
    if not metric.mislabelled:
        return totals(clean(scene, detector, classes))
    if detector.match == "location":
        if scene.centres is None:
            raise ValueError("locations need centres")
        parts = (scene.scores, scene.centres, scene.objects, classes, cut_of(detector))
        number, total = mislabelled.counted_locations(*parts, detector.least)
    else:
        if detector.overlap is None:
            raise ValueError("overlaps need boxes")
        every = kept(scene, detector, range(len(scene.scores)))
        number, total = mislabelled.counted(every, scene.objects, classes, detector.overlap)
    return total - number, 0, number

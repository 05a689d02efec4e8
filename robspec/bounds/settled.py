"""Whether rounding decides anything of what a detector makes of an image."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from robspec.bounds.scene import Scene, threshold_of
from robspec.ir.types import Detector
from robspec.kernels.detection import BoolArray, FloatArray, IntArray, Objects
from robspec.kernels.detection.overlap import Boxes, perhaps_more, surely_at_least, surely_less, surely_more
from robspec.kernels.knapsack.budget import round_up

_DIFFERENCE = 1.0 + 1e-9
"""Distances of scores are rounded once, which the ninth digit covers."""


def settled(scene: Scene, detector: Detector, scores_off: Fraction, boxes_off: Fraction) -> bool:
    """Whether a detector finds the same on an image wherever within rounding its scores and boxes may truly lie.

    What it finds follows from which locations fire, from which boxes overlap, and from the order of those pairs alone
    of which one may suppress the other or take its object: where no other pair interacts, neighbours in the order may
    be exchanged.

    Args:
        scene: the image, as computed.
        detector: what is done with its scores.
        scores_off: bound of what any one score may be off by.
        boxes_off: bound of what any one coordinate may be off by.

    Returns:
        False where that is not known, also where rounding decides nothing in the end.
    """
    off, at = round_up(scores_off), threshold_of(detector)
    if bool(((scene.scores >= at.low - off * _DIFFERENCE) & (scene.scores <= at.high + off * _DIFFERENCE)).any()):
        return False
    if detector.match == "location":
        return True
    if scene.boxes is None or detector.overlap is None:
        raise ValueError("overlaps need boxes")
    classes, places = np.nonzero(scene.scores > at.high)
    scores, boxes = scene.scores[classes, places], Boxes.moved(scene.boxes[places], round_up(boxes_off))
    if not boxes.still and not _overlaps_are_settled(classes, boxes, scene.objects, detector):
        return False
    first, second = _near(scores, 2.0 * off)
    if not len(first):
        return True
    if detector.limit is not None and len(scores) > detector.limit:
        return False  # the order of all of them decides which are kept
    # Suppression and matches are each class's own.
    same = classes[first] == classes[second]
    first, second = first[same], second[same]
    rivals = np.zeros(len(first), dtype=np.bool_)
    if detector.nms is not None:
        rivals = _pairs(boxes, first, second, detector.nms)
    touched = _touched(boxes, scene.objects.boxes) & (classes[:, None] == scene.objects.classes[None])
    return not bool((rivals | (touched[first] & touched[second]).any(axis=1)).any())


class Order:
    """The order of all scores that fire, class by class, over any number of images, each with its own rounding.

    Args:
        scores_off: bound of what any one score may be off by.
    """

    def __init__(self, scores_off: Fraction) -> None:
        self._off = round_up(scores_off)
        self._firing: dict[int, list[FloatArray]] = {}

    def add(self, scene: Scene, detector: Detector) -> None:
        """Read one image."""
        low = threshold_of(detector).low - self._off * _DIFFERENCE
        for k, row in enumerate(scene.scores):
            self._firing.setdefault(k, []).append(row[row >= low])

    def settled(self) -> bool:
        """Whether rounding changes nothing of it."""
        return all(not len(_near(np.concatenate(rows), 2.0 * self._off)[0]) for rows in self._firing.values())


def _near(scores: FloatArray, distance: float) -> tuple[IntArray, IntArray]:
    """The pairs of scores that are no further apart than a distance."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    ends = np.searchsorted(ranked, np.nextafter(ranked + distance * _DIFFERENCE, np.inf), side="right")
    counts = ends - np.arange(len(ranked)) - 1
    first = np.repeat(np.arange(len(ranked)), counts)
    second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[first], order[second]


def _pairs(boxes: Boxes, first: IntArray, second: IntArray, nms: Fraction) -> BoolArray:
    """[n], of which pairs one may suppress the other."""
    pairs = zip(first.tolist(), second.tolist(), strict=True)
    return np.array(
        [bool(perhaps_more(boxes[i : i + 1], boxes[j : j + 1], nms)[0]) for i, j in pairs], dtype=np.bool_
    )


def _touched(boxes: Boxes, objects: FloatArray) -> BoolArray:
    """[n, M], which boxes may share area with which objects, as matches need."""
    low, high = boxes.low[:, None], boxes.high[:, None]
    apart = (high[..., 2] <= objects[None, :, 0]) | (objects[None, :, 2] <= low[..., 0])
    apart |= (high[..., 3] <= objects[None, :, 1]) | (objects[None, :, 3] <= low[..., 1])
    return ~apart


def _overlaps_are_settled(classes: IntArray, boxes: Boxes, objects: Objects, detector: Detector) -> bool:
    """Whether, however boxes that move lie, the same ones suppress each other, and each may take the same object."""
    overlap = detector.overlap
    assert overlap is not None  # noqa: S101  (matches are by overlap)
    aside = objects.crowd | objects.ignored
    if bool(_touched(boxes, objects.boxes[aside]).any()):
        return False
    real, of = objects.boxes[~aside], objects.classes[~aside]
    for k in np.unique(classes):
        mine = boxes[classes == k]
        if detector.nms is not None:
            a, b = mine[:, None], mine[None]
            sure = surely_more(a, b, detector.nms) | ~perhaps_more(a, b, detector.nms)
            if not bool((sure | np.eye(len(sure), dtype=np.bool_)).all()):
                return False
        if not len(real):
            continue
        enough = surely_at_least(mine[:, None], real[None], overlap)
        short = surely_less(mine[:, None], real[None], overlap)
        if not bool((enough | short).all()) or bool((enough[:, of == k].sum(axis=1) > 1).any()):
            return False
    return True

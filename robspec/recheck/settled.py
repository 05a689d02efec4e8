"""What rounding leaves alone of a detector, derived a second time: rationals, and every pair looked at."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from robspec.ir.plans import Objects, PooledObjects
from robspec.ir.types import Metric
from robspec.oracle.scene import IntArray
from robspec.recheck.bracket import Bracket
from robspec.recheck.located import Located, ceiling
from robspec.recheck.overlaps import Moving, always, ever
from robspec.semantics.constant import Constant


def shift(constant: Constant) -> Fraction:
    """Rounding of scores and boxes as a budget: a double no smaller than what the needier of the two takes."""
    parts = ((constant.rounding, constant.value), (constant.boxes_rounding, constant.boxes))
    most = max((off / slope for off, slope in parts if off), default=Fraction(0))
    return Fraction(ceiling(most)) if most else most


def settled(image: Located, constant: Constant) -> bool:
    """Whether the pipeline finds the same wherever within rounding scores and boxes may truly lie.

    What it finds follows from which locations fire, which boxes overlap, and in which order any two come that may
    suppress one another or want the same object.
    """
    off, far = Fraction(ceiling(constant.rounding)), Fraction(ceiling(constant.boxes_rounding))
    at, detector = Bracket.of(image.detector), image.detector
    if at.low is None or at.high is None:
        return False
    if any(at.low - off <= Fraction(z) <= at.high + off for z in np.unique(image.scores).tolist()):
        return False
    if image.boxes is None or detector.overlap is None:
        return True
    firing = [(int(k), int(i)) for k, i in np.argwhere(image.scores > float(at.high))]
    boxes = Moving(image.boxes[[i for _, i in firing]], far)
    if far and not _overlaps_settled(image, [k for k, _ in firing], boxes):
        return False
    close = _close([Fraction(float(image.scores[k, i])) for k, i in firing], off)
    if close and detector.limit is not None and len(firing) > detector.limit:
        return False
    for a, b in close:
        k = firing[a][0]
        if firing[b][0] != k:
            continue  # suppression and matches are each class's own
        nms = detector.nms
        if nms is not None and ever(boxes, _one(a), boxes, _one(b), nms, strictly=True)[0]:
            return False
        if any(_meet(boxes, a, g) and _meet(boxes, b, g) for g in image.marked[image.classes == k].tolist()):
            return False
    return True


def order_settled(images: Iterable[Located], constant: Constant) -> bool:
    """Whether rounding changes nothing of the order of all scores of a class that fire, on all images together."""
    off, firing = Fraction(ceiling(constant.rounding)), dict[int, list[float]]()
    for image in images:
        at = Bracket.of(image.detector)
        if at.low is None:
            return False
        for k, row in enumerate(image.scores.tolist()):
            firing.setdefault(k, []).extend(z for z in row if z >= at.low - off)
    return not any(
        Fraction(b) - Fraction(a) <= 2 * off for row in firing.values() for a, b in itertools.pairwise(sorted(row))
    )


def best_of(metric: Metric, image: Located, constant: Constant, clean: Fraction | None) -> Fraction | None:
    """What the clean image is worth over the reals at most."""
    if clean is None or settled(image, constant):
        return clean
    return ideal(metric, clean, sum(len(image.real(k)) for k in image.asked(metric)))


def ideal(metric: Metric, clean: Fraction, objects: int) -> Fraction:
    """The best a metric may be worth where so many objects are annotated; no worse than it is."""
    ends = [clean, Fraction(0) if metric.lower_is_better else Fraction(1)]
    if isinstance(metric.plan, Objects | PooledObjects):
        all_found = metric.formula.ratio.at(objects, 0, 0, 0)
        ends += [] if all_found is None else [all_found]
    return min(ends) if metric.lower_is_better else max(ends)


def read_at(image: Located, overlap: Fraction) -> Located:
    """The same image with another overlap of a match."""
    return replace(image, detector=replace(image.detector, overlap=overlap))


def _close(scores: Sequence[Fraction], off: Fraction) -> list[tuple[int, int]]:
    """The pairs of scores whose order rounding may change."""
    order = sorted(range(len(scores)), key=scores.__getitem__)
    found = []
    for place, a in enumerate(order):
        for b in order[place + 1 :]:
            if scores[b] - scores[a] > 2 * off:
                break
            found.append((a, b))
    return found


def _overlaps_settled(image: Located, classes: Sequence[int], boxes: Moving) -> bool:
    """Whether boxes that move suppress the same ones, and can take the same objects, wherever they are."""
    detector, count = image.detector, len(classes)
    aside = image.crowd | image.ignored
    if any(_meet(boxes, a, g) for a in range(count) for g in image.marked[aside].tolist()):
        return False
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count) if classes[a] == classes[b]]
    if detector.nms is not None and pairs:
        i, j = (np.array(side, dtype=np.int64) for side in zip(*pairs, strict=True))
        may = ever(boxes, i, boxes, j, detector.nms, strictly=True)
        must = always(boxes, i, boxes, j, detector.nms, strictly=True)
        if bool((may & ~must).any()):
            return False
    real, of = Moving(image.marked[~aside]), image.classes[~aside]
    if not count or not len(of) or detector.overlap is None:
        return True
    i, j = np.repeat(np.arange(count), len(of)), np.tile(np.arange(len(of)), count)
    may = ever(boxes, i, real, j, detector.overlap, strictly=False)
    must = always(boxes, i, real, j, detector.overlap, strictly=False)
    if bool((may & ~must).any()):
        return False
    own = must & (np.array(classes)[i] == of[j])
    return int(own.reshape(count, -1).sum(axis=1).max()) <= 1


def _one(place: int) -> IntArray:
    return np.array([place], dtype=np.int64)


def _meet(boxes: Moving, place: int, other: Sequence[float]) -> bool:
    """Whether a box may share area with another, as a match needs."""
    low = [Fraction(x) - boxes.far for x in boxes.boxes[place].tolist()]
    high = [Fraction(x) + boxes.far for x in boxes.boxes[place].tolist()]
    g = [Fraction(x) for x in other]
    return all(high[n + 2] > g[n] and g[n + 2] > low[n] for n in (0, 1))

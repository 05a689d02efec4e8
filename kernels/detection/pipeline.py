"""The pipeline itself on scores that nobody attacks: threshold, greedy suppression, matching; overlaps exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from robspec.kernels.detection import BoolArray, FloatArray, IntArray, Objects
from robspec.kernels.detection.overlap import sign

WRONG, EXCUSED = -1, -2
"""A detection that takes no object; one that takes an ignored object, or lies in a crowd, and does not count."""
_AT_ONCE = 64
"""So many boxes are compared with each other in one table."""


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """The detections of one class of an image, in order.

    Args:
        scores: [n], descending.
        boxes: [n, 4].
    """

    scores: FloatArray
    boxes: FloatArray


def kept(scores: FloatArray, boxes: FloatArray, cut: float, nms: Fraction | None) -> Kept:
    """Keep, from the highest score down, what overlaps no kept one by more than `nms`.

    Args:
        scores: [N], logits; of equal ones the lower index comes first.
        boxes: [N, 4].
        cut: the logit from which a location fires.
        nms: None to keep everything that fires.
    """
    firing = np.flatnonzero(scores >= cut)
    left = firing[np.argsort(-scores[firing], kind="stable")]
    if nms is None or len(left) < 2:
        return Kept(scores[left], boxes[left])
    chosen: list[int] = []
    if len(left) <= _AT_ONCE:
        stays = np.ones(len(left), dtype=np.bool_)
        pairs = sign(boxes[left][:, None], boxes[left][None], nms) <= 0
        for i in range(len(left)):
            if stays[i]:
                chosen.append(int(left[i]))
                stays &= pairs[i]
        left = left[:0]
    while len(left):
        chosen.append(int(left[0]))
        left = left[1:][sign(boxes[left[1:]], boxes[left[0]], nms) <= 0]
    order = np.array(chosen, dtype=np.int64)
    return Kept(scores[order], boxes[order])


def matched(boxes: FloatArray, objects: Objects, k: int, overlap: Fraction) -> tuple[BoolArray, BoolArray]:
    """Match detections, the best first, with the unmatched object each overlaps most, by COCO's rules.

    Args:
        boxes: [n, 4], in order.
        objects: the annotation.
        k: the class.
        overlap: the least overlap of a match.

    Returns:
        [n], right; and [n], out of account: matched with a crowd or an ignored object only.
    """
    chosen = assigned(boxes, objects, k, overlap)
    return np.asarray(chosen >= 0), np.asarray(chosen == EXCUSED)


def assigned(boxes: FloatArray, objects: Objects, k: int, overlap: Fraction) -> IntArray:
    """Say which object each detection takes; arguments as for `matched`.

    Returns:
        [n], the number among the objects of the class that count, WRONG, or EXCUSED.
    """
    if not len(boxes):
        return np.empty(0, dtype=np.int64)
    of_class = objects.classes == k
    real = objects.boxes[of_class & ~objects.crowd & ~objects.ignored]
    aside = of_class & (objects.crowd | objects.ignored)
    others, crowd = objects.boxes[aside], objects.crowd[aside]
    found = np.full(len(boxes), WRONG, dtype=np.int64)
    taken, spared = set[int](), set[int]()
    enough = np.asarray(sign(boxes[:, None], real[None], overlap) >= 0)
    for i in range(len(boxes)):
        m = _best(boxes[i], real, [m for m in np.flatnonzero(enough[i]).tolist() if m not in taken])
        if m is not None:
            taken.add(m)
            found[i] = m
            continue
        values = [_covered(boxes[i], g) if c else _ratio(boxes[i], g) for g, c in zip(others, crowd, strict=True)]
        shares = [(v, n) for n, v in enumerate(values) if n not in spared and v >= overlap]
        if shares:
            found[i] = EXCUSED
            # The one overlapped most, of equal ones the last, and a crowd is never used up.
            spared |= {max(shares)[1]} - set(np.flatnonzero(crowd).tolist())
    return found


def _best(box: FloatArray, others: FloatArray, candidates: Sequence[int]) -> int | None:
    """The candidate that is overlapped most; of equal ones the last."""
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    return max((_ratio(box, others[m]), m) for m in candidates)[1]


def _ratio(a: FloatArray, b: FloatArray) -> Fraction:
    p, q = [Fraction(x) for x in a.tolist()], [Fraction(x) for x in b.tolist()]
    both = _area([max(p[0], q[0]), max(p[1], q[1]), min(p[2], q[2]), min(p[3], q[3])])
    union = _area(p) + _area(q) - both
    return both / union if union else Fraction(0)


def _area(a: Sequence[Fraction]) -> Fraction:
    return max(a[2] - a[0], Fraction(0)) * max(a[3] - a[1], Fraction(0))


def _covered(box: FloatArray, region: FloatArray) -> Fraction:
    """The share of a box's own area that lies in a region."""
    p, q = [Fraction(x) for x in box.tolist()], [Fraction(x) for x in region.tolist()]
    both = _area([max(p[0], q[0]), max(p[1], q[1]), min(p[2], q[2]), min(p[3], q[3])])
    return both / _area(p) if _area(p) else Fraction(0)

"""The pipeline itself on scores that nobody attacks: threshold, greedy suppression, matching; overlaps exact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from robspec.kernels.detection import BoolArray, FloatArray, Objects
from robspec.kernels.detection.overlap import sign


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
    if nms is None:
        return Kept(scores[left], boxes[left])
    chosen: list[int] = []
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
    of_class = objects.classes == k
    real = objects.boxes[of_class & ~objects.crowd & ~objects.ignored]
    ignored, crowds = objects.boxes[of_class & objects.ignored & ~objects.crowd], objects.crowds(k)
    right, out = (np.zeros(len(boxes), dtype=np.bool_) for _ in range(2))
    taken, spared = set[int](), set[int]()
    enough, near = _enough(boxes, real, overlap), _enough(boxes, ignored, overlap)
    for i in range(len(boxes)):
        m = _best(boxes[i], real, [m for m in np.flatnonzero(enough[i]).tolist() if m not in taken])
        if m is not None:
            taken.add(m)
            right[i] = True
            continue
        m = _best(boxes[i], ignored, [m for m in np.flatnonzero(near[i]).tolist() if m not in spared])
        if m is not None:
            spared.add(m)
        out[i] = m is not None or any(_covered(boxes[i], c, overlap) for c in crowds)
    return right, out


def _enough(boxes: FloatArray, others: FloatArray, overlap: Fraction) -> BoolArray:
    return np.asarray(sign(boxes[:, None], others[None], overlap) >= 0)


def _best(box: FloatArray, others: FloatArray, candidates: Sequence[int]) -> int | None:
    """The candidate that is overlapped most; of equal ones the last."""
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    values = [_ratio(box.tolist(), others[m].tolist()) for m in candidates]
    return max(zip(values, candidates, strict=True))[1]


def _ratio(a: list[float], b: list[float]) -> Fraction:
    p, q = [Fraction(x) for x in a], [Fraction(x) for x in b]
    both = _area([max(p[0], q[0]), max(p[1], q[1]), min(p[2], q[2]), min(p[3], q[3])])
    union = _area(p) + _area(q) - both
    return both / union if union else Fraction(0)


def _area(a: Sequence[Fraction]) -> Fraction:
    return max(a[2] - a[0], Fraction(0)) * max(a[3] - a[1], Fraction(0))


def _covered(box: FloatArray, region: FloatArray, share: Fraction) -> bool:
    p, q = [Fraction(x) for x in box.tolist()], [Fraction(x) for x in region.tolist()]
    both = _area([max(p[0], q[0]), max(p[1], q[1]), min(p[2], q[2]), min(p[3], q[3])])
    return bool(_area(p)) and both >= share * _area(p)

"""A detector's pipeline in exact arithmetic: threshold, greedy suppression, matching, counts and average precision.

It shares nothing with the bounds it judges. Coordinates and scores are the rationals that their doubles stand for;
every order of equal scores can be asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

Box = tuple[Fraction, Fraction, Fraction, Fraction]


@dataclass(frozen=True, slots=True)
class Annotated:
    """One annotated object of the class in question.

    Args:
        box: x1, y1, x2, y2.
        crowd: a region in which any number of detections is neither right nor wrong.
        ignored: an object whose detection is neither right nor wrong.
    """

    box: Box
    crowd: bool = False
    ignored: bool = False

    @property
    def counts(self) -> bool:
        """Whether it has to be found."""
        return not self.crowd and not self.ignored


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of one class of an image."""

    tp: int
    fp: int
    fn: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """One kept detection: its score, and whether it was matched; None where it does not count."""

    score: Fraction
    right: bool | None


def box(coordinates: Sequence[float]) -> Box:
    """The rationals of four doubles."""
    a, b, c, d = (Fraction(x) for x in coordinates)
    return a, b, c, d


def overlap(a: Box, b: Box) -> Fraction:
    """Intersection over union, sides clamped at 0; 0 for two boxes without area."""
    both = _sides(max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    union = _sides(*a) + _sides(*b) - both
    return both / union if union else Fraction(0)


def covered(a: Box, region: Box) -> Fraction:
    """The share of a's own area that lies in a crowd; 0 for a box without area."""
    both = _sides(max(a[0], region[0]), max(a[1], region[1]), min(a[2], region[2]), min(a[3], region[3]))
    return both / _sides(*a) if _sides(*a) else Fraction(0)


def _sides(x1: Fraction, y1: Fraction, x2: Fraction, y2: Fraction) -> Fraction:
    return max(x2 - x1, Fraction(0)) * max(y2 - y1, Fraction(0))


def suppressed(order: Sequence[int], boxes: Sequence[Box], nms: Fraction | None) -> list[int]:
    """Keep, in this order, every box that overlaps no kept one by more than `nms`; all of them where it is None."""
    kept: list[int] = []
    for i in order:
        if nms is None or all(overlap(boxes[i], boxes[j]) <= nms for j in kept):
            kept.append(i)
    return kept


def matched(
    kept: Sequence[int], boxes: Sequence[Box], objects: Sequence[Annotated], o: Fraction
) -> list[bool | None]:
    """Match detections, the best first, as COCO does.

    A detection takes the unmatched object that counts and that it overlaps most, if by at least o (of equal overlaps
    the later one). Without one, it is left out of account where it overlaps an ignored object that no detection has
    taken, or lies in a crowd, by at least o.

    Args:
        kept: indices of the detections, in order.
        boxes: all boxes.
        objects: of the class.
        o: the overlap that is enough.

    Returns:
        True, False, or None where it does not count.
    """
    taken = [False] * len(objects)
    found: list[bool | None] = []
    for i in kept:
        chosen = _best(boxes[i], objects, taken, o, lambda g: g.counts)
        if chosen is None:
            chosen = _best(boxes[i], objects, taken, o, lambda g: not g.counts)
        if chosen is None:
            found.append(False)
            continue
        taken[chosen] = not objects[chosen].crowd
        found.append(True if objects[chosen].counts else None)
    return found


def _best(
    candidate: Box,
    objects: Sequence[Annotated],
    taken: Sequence[bool],
    o: Fraction,
    wanted: Callable[[Annotated], bool],
) -> int | None:
    chosen, most = None, o
    for m, g in enumerate(objects):
        if taken[m] or not wanted(g):
            continue
        value = covered(candidate, g.box) if g.crowd else overlap(candidate, g.box)
        if value >= most:
            chosen, most = m, value
    return chosen


def detections(
    scores: Sequence[Fraction],
    boxes: Sequence[Box],
    objects: Sequence[Annotated],
    *,
    threshold: Fraction,
    nms: Fraction | None,
    o: Fraction,
    before: Callable[[int], int] = lambda i: i,
) -> list[Verdict]:
    """Run the pipeline on one class of an image.

    Args:
        scores: of every location.
        boxes: of every location.
        objects: annotated with the class.
        threshold: a location fires from it on.
        nms: suppression, or None.
        o: overlap of a match.
        before: which of equal scores comes first: the one with the smaller number.

    Returns:
        The kept detections, in order.
    """
    firing = [i for i, s in enumerate(scores) if s >= threshold]
    order = sorted(firing, key=lambda i: (-scores[i], before(i)))
    kept = suppressed(order, boxes, nms)
    found = matched(kept, boxes, objects, o)
    return [Verdict(scores[i], right) for i, right in zip(kept, found, strict=True)]


def counted(found: Sequence[Verdict], objects: Sequence[Annotated]) -> Counts:
    """Count what was right, wrong and missed."""
    tp = sum(v.right is True for v in found)
    return Counts(tp, sum(v.right is False for v in found), sum(g.counts for g in objects) - tp)


def average_precision(found: Sequence[Verdict], total: int, points: Sequence[Fraction] | None) -> Fraction | None:
    """Average the precision over recall, below its envelope.

    Args:
        found: the detections of all images, any order; equal scores stay in the order given.
        total: how many objects there are.
        points: recalls at which the envelope is read, COCO's 101 being `coco_points()`; None for the area under it.

    Returns:
        The average; None without objects.
    """
    if not total:
        return None
    curve: list[tuple[Fraction, Fraction]] = []
    tp = fp = 0
    for v in sorted((v for v in found if v.right is not None), key=lambda v: -v.score):
        tp, fp = tp + (v.right is True), fp + (v.right is False)
        # COCO compares the rounded quotient with its rounded points.
        recall = Fraction(tp, total) if points is None else Fraction(tp / total)
        curve.append((recall, Fraction(tp, tp + fp)))
    if points is not None:
        return sum((_envelope(curve, r) for r in points), Fraction(0)) / len(points)
    levels = sorted({r for r, _ in curve if r > 0})
    lower = [Fraction(0), *levels[:-1]]
    return sum(((r - s) * _envelope(curve, r) for r, s in zip(levels, lower, strict=True)), Fraction(0))


def _envelope(curve: Sequence[tuple[Fraction, Fraction]], recall: Fraction) -> Fraction:
    return max((p for r, p in curve if r >= recall), default=Fraction(0))


def coco_points() -> list[Fraction]:
    """COCO's recall thresholds: the doubles i * 0.01 for i from 0 to 100, the last one 1."""
    return [Fraction(i * 0.01) if i < 100 else Fraction(1) for i in range(101)]

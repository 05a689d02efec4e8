"""Attacks on all images of a detector together: each chosen from a few of its own, one after the other.

What is attained is the value of one choice for every image, computed by the pipeline in exact arithmetic. It is not
the least of all choices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, TypeAlias

from robspec.ir.plans import Precisions
from robspec.ir.types import Metric
from robspec.oracle.detections import Verdict, average_precision, coco_points, matched
from robspec.oracle.objects import Image, Key, attacks, counts, kept
from robspec.oracle.scene import ratio_value

Moved: TypeAlias = dict[Key, Fraction]
MOST = 100
"""Detections of a class and an image that COCO looks at."""
SWEEPS = 2
_POINTS = coco_points()


def proposed(metric: Metric, image: Image, reach: Fraction) -> tuple[list[Moved], int]:
    """Attacks on one image, at every overlap that a metric is about; and how many choices there were at most."""
    overlaps = metric.arguments if isinstance(metric.plan, Precisions) else (image.detector.overlap,)
    found: list[Moved] = []
    choices = 0
    for o in overlaps:
        made, count = attacks(metric, replace(image, detector=replace(image.detector, overlap=o)), reach)
        found += [moved for moved in made if moved not in found]
        choices = max(choices, count)
    return found, choices


def value(metric: Metric, images: Sequence[Image], chosen: Sequence[Moved]) -> Fraction | None:
    """A metric of all images where some scores of each are moved; None where it is undefined."""
    return _judge(metric, images)(chosen)


def worst(metric: Metric, images: Sequence[Image], reach: Fraction) -> tuple[Fraction, int] | None:
    """The worst value that is attained by attacks on every image, and how many choices there were.

    Args:
        metric: pooled, or an average precision.
        images: all of them.
        reach: L eps of each, exact.

    Returns:
        None where the metric is undefined.
    """
    judge = _judge(metric, images)
    chosen: list[Moved] = [{} for _ in images]
    best = judge(chosen)
    if best is None:
        return None
    sign = -1 if metric.lower_is_better else 1
    made = [proposed(metric, image, reach) for image in images]
    for _ in range(SWEEPS):
        for i, (found, _) in enumerate(made):
            for moved in found:
                tried = [*chosen[:i], moved, *chosen[i + 1 :]]
                reached = judge(tried)
                if reached is not None and sign * reached < sign * best:
                    best, chosen = reached, tried
    return best, max((count for _, count in made), default=0)


def _judge(metric: Metric, images: Sequence[Image]) -> Callable[[Sequence[Moved]], Fraction | None]:
    """The value of any choice; what a choice of one image comes to is computed once."""
    known: dict[tuple[int, frozenset[tuple[Key, Fraction]]], Any] = {}

    def of(i: int, moved: Moved) -> Any:
        key = (i, frozenset(moved.items()))
        if key not in known:
            ask = verdicts if isinstance(metric.plan, Precisions) else counts
            known[key] = ask(metric, images[i], moved)
        return known[key]

    def judged(chosen: Sequence[Moved]) -> Fraction | None:
        found = [of(i, moved) for i, moved in enumerate(chosen)]
        if isinstance(metric.plan, Precisions):
            return _precision(metric, images, found)
        sums = [sum(each) for each in zip(*found, strict=True)]
        return ratio_value(metric, (*sums, 1)) if images else None

    return judged


Table: TypeAlias = dict[tuple[int, Fraction], list[Verdict]]
"""By class and overlap, the detections of an image that count."""


def verdicts(metric: Metric, image: Image, moved: Moved) -> Table:
    """Judge the best detections of every class and at every overlap of an average precision.

    Args:
        metric: its plan is `Precisions`.
        image: the image.
        moved: new scores in place of old ones.
    """
    best = kept(image, moved)
    found: Table = {}
    for k in metric.classes or range(len(image.scores)):
        few = best[k][:MOST]
        scores = [moved.get((k, i), image.scores[k][i]) for i in few]
        for o in metric.arguments:
            rights = matched(few, image.boxes, image.of(k), o)
            found[k, o] = [Verdict(z, right) for z, right in zip(scores, rights, strict=True)]
    return found


def _precision(metric: Metric, images: Sequence[Image], found: Sequence[Table]) -> Fraction | None:
    values = []
    for k in metric.classes or range(len(images[0].scores) if images else 0):
        total = sum(g.counts for image in images for g in image.of(k))
        for o in metric.arguments:
            one = average_precision([v for table in found for v in table[k, o]], total, _POINTS)
            values += [one] if one is not None else []
    return sum(values, Fraction(0)) / len(values) if values else None

"""Objects that are missed while something of another class is reported in their place (DETECTION.md D5).

An object of class y is mislabelled where it is not found and a wrong detection of another class covers it. An attack
has to make it vanish, which moves scores of class y that fire, and to have a location of another class fire that can
cover it, which raises scores that do not: other scores, so that both prices are paid. One raised location may cover
several objects; each of them is charged its share, so that no location is charged more than it costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np

from robspec.kernels.detection import (
    BoolArray,
    FloatArray,
    IntArray,
    Ledger,
    Objects,
    Pipeline,
    Reach,
    Threshold,
    as_stored,
    cpu,
    pipeline,
    places,
)
from robspec.kernels.detection.overlap import Boxes, sign, surely_less


def read(
    scores: FloatArray,
    boxes: FloatArray,
    objects: Objects,
    classes: Sequence[int],
    line: Pipeline,
    reach: Reach,
    *,
    crowded: bool,
) -> Ledger:
    """Find what it costs to have objects mislabelled, where they are matched by overlap.

    Args:
        scores: [K, N], logits.
        boxes: [N, 4].
        objects: the annotation.
        classes: whose objects are asked about.
        line: what is done with the scores.
        reach: what an attack can do.
        crowded: whether a limit may cut what proves that an object is found.

    Returns:
        `vanish` prices every object, 0 where it may be mislabelled as it is.

    Source: DETECTION.md D5.
    """
    costs, able = _raising(scores, line.threshold, reach)
    near = np.flatnonzero(able.any(axis=0))
    where = Boxes.moved(boxes[near], reach.rho)
    covers = {k: _covers(where, objects.real(k), line) for k in classes}
    fallen = {k: {} if crowded else cpu.vanishing(scores[k], boxes, objects, k, line, reach) for k in classes}
    return _priced(costs[:, near], able[:, near], covers, fallen, 1, reach)


def read_locations(
    scores: FloatArray,
    centres: FloatArray,
    objects: Objects,
    classes: Sequence[int],
    threshold: Threshold,
    least: int,
    reach: Reach,
) -> Ledger:
    """The same where objects are matched by location: enough of an object's own locations fire for another class.

    Args:
        scores: [K, N], logits.
        centres: [N, 2].
        objects: the annotation.
        classes: whose objects are asked about.
        threshold: where a location fires.
        least: how many have to fire.
        reach: what an attack can do.
    """
    costs, able = _raising(scores, threshold, reach)
    for c in range(len(scores)):
        # Where the other class is annotated too, what fires is no mistake.
        able[c] &= ~places.inside(centres, objects.boxes[objects.classes == c]).any(axis=1)
    own = {k: places.owned(centres, objects.real(k)) for k in classes}
    fallen = {k: places.vanishing(scores[k], own[k], threshold, least, reach) for k in classes}
    return _priced(costs, able, own, fallen, least, reach)


def _raising(scores: FloatArray, threshold: Threshold, reach: Reach) -> tuple[IntArray, BoolArray]:
    """What it costs to make each score reach the threshold, and whether that can be paid."""
    limit = reach.budget.limit
    near = scores >= cpu.floor(threshold, reach)
    costs = np.full(scores.shape, limit + 1, dtype=np.int64)
    costs[near] = reach.costs(np.maximum(threshold.low - scores[near], 0.0))
    return costs, np.asarray(costs <= limit)


def _covers(where: Boxes, real: FloatArray, line: Pipeline) -> BoolArray:
    """Which locations may cover which objects: [n, M]."""
    found = np.zeros((len(where.low), len(real)), dtype=np.bool_)
    if found.size:
        for each in as_stored(real):
            found |= ~surely_less(where[:, None], each[None], line.overlap - line.margin)
    return found


def _priced(
    costs: IntArray,
    able: BoolArray,
    covers: Mapping[int, BoolArray],
    fallen: Mapping[int, Mapping[int, int]],
    least: int,
    reach: Reach,
) -> Ledger:
    limit, prices = reach.budget.limit, []
    many = sum((c.sum(axis=1) for c in covers.values()), np.zeros(costs.shape[1], dtype=np.int64))
    # In l_inf every score moves for itself, and nothing is shared.
    shares = costs // np.maximum(many, 1) if reach.budget.exponent else costs
    for k, rows in covers.items():
        for m in range(rows.shape[1]):
            mine = np.flatnonzero(rows[:, m])
            chosen = able[:, mine]
            enough = chosen.sum(axis=1) >= least
            enough[k] = False
            cheapest = limit + 1
            if enough.any():
                prized = np.where(chosen[enough], shares[np.ix_(enough, mine)], limit + 1)
                prized.partition(least - 1, axis=1)
                cheapest = min(cheapest, int(prized[:, :least].sum(axis=1).min()))
            prices.append(min(fallen[k].get(m, 0) + cheapest, limit + 1))
    return Ledger(len(prices), tuple(sorted(prices)), len(prices), (), limit)


def counted(
    kept: Mapping[int, pipeline.Kept], objects: Objects, classes: Sequence[int], overlap: Fraction
) -> tuple[int, int]:
    """Count mislabelled objects where nothing is attacked, and all objects.

    Args:
        kept: of every class, its detections.
        objects: the annotation.
        classes: whose objects are asked about.
        overlap: the least overlap of a match.
    """
    taken = {c: pipeline.assigned(found.boxes, objects, c, overlap) for c, found in kept.items()}
    wrong = {c: found.boxes[taken[c] == pipeline.WRONG] for c, found in kept.items() if len(found.boxes)}
    number = total = 0
    for k in classes:
        real = objects.real(k)
        if not len(real):
            continue
        others = np.concatenate([np.empty((0, 4)), *(boxes for c, boxes in wrong.items() if c != k)])
        covered = (sign(others[:, None], real[None], overlap) >= 0).any(axis=0)
        missed = ~np.isin(np.arange(len(real)), taken[k])
        number, total = number + int((covered & missed).sum()), total + len(real)
    return number, total


def counted_locations(
    scores: FloatArray, centres: FloatArray, objects: Objects, classes: Sequence[int], cut: float, least: int
) -> tuple[int, int]:
    """The same where objects are matched by location.

    Args:
        scores: [K, N].
        centres: [N, 2].
        objects: the annotation.
        classes: whose objects are asked about.
        cut: the logit from which a location fires.
        least: how many have to fire.
    """
    firing = scores >= cut
    strange = firing.copy()
    for c in range(len(scores)):
        strange[c] &= ~places.inside(centres, objects.boxes[objects.classes == c]).any(axis=1)
    number = total = 0
    for k in classes:
        own = places.owned(centres, objects.real(k))
        missed = (own & firing[k][:, None]).sum(axis=0) < least
        others = [c for c in range(len(scores)) if c != k]
        covered = ((strange[others][:, :, None] & own[None]).sum(axis=1) >= least).any(axis=0)
        number, total = number + int((covered & missed).sum()), total + own.shape[1]
    return number, total

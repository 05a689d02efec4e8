"""What is certain of the detections of one image, in arrays (DETECTION.md D2 and D3)."""

from __future__ import annotations

import numpy as np

from robspec.kernels.detection import (
    MOST_SEEDS,
    MOST_TOGETHER,
    BoolArray,
    FloatArray,
    IntArray,
    Ledger,
    Objects,
    Pipeline,
    Reach,
    Threshold,
    above,
    as_stored,
    below,
)
from robspec.kernels.detection.overlap import Boxes, perhaps_more, surely_at_least, surely_inside, surely_less
from robspec.kernels.detection.overlap import surely_more as surely_more_pairs

_AT_ONCE = 64
"""So many boxes are compared with each other in one table."""
NOWHERE, SHARED = -1, -2
"""A location that certainly belongs to no object; one that may belong to some."""


def read(scores: FloatArray, boxes: FloatArray, objects: Objects, k: int, pipeline: Pipeline, reach: Reach) -> Ledger:
    """Find what is certain of one class of an image.

    Args:
        scores: [N], logits of the class.
        boxes: [N, 4].
        objects: the annotation.
        k: the class.
        pipeline: what is done with the scores.
        reach: what an attack can do.

    Returns:
        What is found, what may be kept beside, and what each change costs.

    Source: DETECTION.md D2 and D3.
    """
    real = objects.real(k)
    z, where, owner, clear = _places(scores, boxes, real, pipeline, reach)
    if not len(z):
        return Ledger(len(real), (), 0, (), reach.budget.limit)
    witness = witnesses(z, where, owner, real, pipeline, reach)
    vanish = _costs_to_vanish(z, owner, witness, pipeline, reach)
    # The last two stand for NOWHERE and SHARED.
    losable = np.zeros(len(real) + 2, dtype=np.bool_)
    losable[[m for m, cost in vanish.items() if cost <= reach.budget.limit]] = True
    loose = losable[owner] & witness
    free = ~_excused(where, clear, objects.crowds(k), pipeline)
    alone, cliques = _cliques(z, where, free, loose, pipeline, reach)
    kept, appear = _groups(z, where, np.flatnonzero(alone), owner, pipeline, reach)
    return Ledger(len(real), tuple(sorted(vanish.values())), cliques + kept, appear, reach.budget.limit)


def vanishing(
    scores: FloatArray, boxes: FloatArray, objects: Objects, k: int, pipeline: Pipeline, reach: Reach
) -> dict[int, int]:
    """What it costs to make each object of a class vanish that is certainly found; arguments as for `read`.

    Returns:
        For the number of an object among those that count, its cost, at most one more than may be spent.
    """
    real = objects.real(k)
    z, where, owner, _ = _places(scores, boxes, real, pipeline, reach)
    return _costs_to_vanish(z, owner, witnesses(z, where, owner, real, pipeline, reach), pipeline, reach)


def _places(
    scores: FloatArray, boxes: FloatArray, real: FloatArray, pipeline: Pipeline, reach: Reach
) -> tuple[FloatArray, Boxes, IntArray, BoolArray]:
    """The locations that an attack can make fire, the best first: scores, boxes, and what `owners` says of them."""
    places = np.flatnonzero(scores >= floor(pipeline.threshold, reach))
    # The highest scores first, the lower index first where they are equal.
    places = places[np.argsort(-scores[places], kind="stable")]
    where = Boxes.moved(boxes[places], reach.rho)
    return scores[places], where, *owners(where, real, pipeline)


def _costs_to_vanish(
    z: FloatArray, owner: IntArray, witness: BoolArray, pipeline: Pipeline, reach: Reach
) -> dict[int, int]:
    found = np.flatnonzero(witness)
    if not len(found):
        return {}
    vanish: dict[int, int] = {}
    prices = reach.costs(z[found] - pipeline.threshold.high).tolist()
    for m, price in sorted(zip(owner[found].tolist(), prices, strict=True)):
        vanish[m] = min(vanish.get(m, 0) + price, reach.budget.limit + 1)
    return vanish


def floor(threshold: Threshold, reach: Reach) -> float:
    """The least clean score that an attack can make fire, rounded down."""
    return below(threshold.low - reach.one)


def owners(where: Boxes, real: FloatArray, pipeline: Pipeline) -> tuple[IntArray, BoolArray]:
    """Find the one object each location certainly belongs to, however its box moves.

    Returns:
        [n], the object, NOWHERE or SHARED; and [n], True where no object can be matched.
    """
    n = len(where.low)
    owner = np.full(n, NOWHERE, dtype=np.int64)
    if not len(real) or not n:
        return owner, np.ones(n, dtype=np.bool_)
    clear = np.ones((n, len(real)), dtype=np.bool_)
    for each in as_stored(real):
        clear &= surely_less(where[:, None], each[None], pipeline.overlap - pipeline.margin)
    i, m = np.nonzero(~clear)
    sure = np.ones(len(i), dtype=np.bool_)
    for each in as_stored(real):
        sure &= surely_at_least(where[i], each[m], pipeline.overlap + pipeline.margin)
    touched = (~clear).sum(axis=1)
    owner[touched > 0] = SHARED
    mine = sure & (touched[i] == 1)
    owner[i[mine]] = m[mine]
    return owner, np.asarray(touched == 0)


def witnesses(
    z: FloatArray, where: Boxes, owner: IntArray, real: FloatArray, pipeline: Pipeline, reach: Reach
) -> BoolArray:
    """Find the firing locations whose object is matched as long as one of them fires.

    Args:
        z: [n], descending.
        where: the boxes.
        owner: of `owners`.
        real: the objects.
        pipeline: what is done with the scores.
        reach: what an attack can do.
    """
    found = (owner >= 0) & (z >= pipeline.threshold.high)
    mine = np.flatnonzero(found)
    if pipeline.nms is None or not len(mine):
        return found
    rivals = owner[mine][:, None] != owner[None, :]
    rivals &= can_outrank(z, mine, pipeline, reach)
    i, j = np.nonzero(rivals)
    hit = perhaps_more(where[mine[i]], where[j], pipeline.nms - pipeline.margin)
    lost = np.zeros(len(mine), dtype=np.bool_)
    lost[i[hit]] = True
    if lost.any() and not where.still:
        lost &= ~_by_distance(where[mine], owner[mine], real, pipeline)
    found[mine[lost]] = False
    return found


def can_outrank(z: FloatArray, mine: IntArray, pipeline: Pipeline, reach: Reach) -> BoolArray:
    """Tell which locations can come before others in the order of suppression.

    Returns:
        [len(mine), n], generous where rounding leaves a doubt.
    """
    bars = np.array([below(below(x - pipeline.threshold.slack(x)) - reach.two) for x in z[mine].tolist()])
    return np.asarray(z[None, :] >= np.maximum(bars, floor(pipeline.threshold, reach))[:, None])


def _by_distance(where: Boxes, owner: IntArray, real: FloatArray, pipeline: Pipeline) -> BoolArray:
    """Tell which locations are so near their object that whatever suppresses them belongs to it.

    One minus the overlap is a distance: a box that overlaps i by more than t is within 1 - t of it.
    """
    if pipeline.nms is None:
        return np.ones(len(owner), dtype=np.bool_)
    t, margin = pipeline.nms - pipeline.margin, pipeline.margin
    found = np.ones(len(owner), dtype=np.bool_)
    for each in as_stored(real):
        others = surely_less(where[:, None], each[None], pipeline.overlap - margin + t - 1)
        others[np.arange(len(owner)), owner] = True
        found &= surely_at_least(where, each[owner], 1 + pipeline.overlap + margin - t) & others.all(axis=1)
    return found


def _excused(where: Boxes, clear: BoolArray, crowds: FloatArray, pipeline: Pipeline) -> BoolArray:
    """Tell which locations lie in a crowd, and can be matched with no object: what is kept there is not counted."""
    found = np.zeros(len(clear), dtype=np.bool_)
    some = np.flatnonzero(clear)
    if len(crowds) and len(some):
        inside = np.ones((len(some), len(crowds)), dtype=np.bool_)
        for each in as_stored(crowds):
            inside &= surely_inside(where[some][:, None], each[None], pipeline.overlap + pipeline.margin)
        found[some] = inside.any(axis=1)
    return found


def _cliques(
    z: FloatArray, where: Boxes, free: BoolArray, loose: BoolArray, pipeline: Pipeline, reach: Reach
) -> tuple[BoolArray, int]:
    """Count dominant cliques: sets of which exactly one is kept, whatever happens.

    A location c that fires in spite of the attack is kept, or suppressed by a kept one that overlaps it and can
    outrank it. Where c and all of these surely overlap each other, exactly one of them is kept, and nothing else is
    that surely overlaps them all.

    Args:
        z: [n], descending.
        where: the boxes.
        free: what counts as a false positive when it is kept.
        loose: witnesses whose object can vanish; they stay, so that their group is counted when they die.
        pipeline: what is done with the scores.
        reach: what an attack can do.

    Returns:
        What is left, and how many cliques there are.
    """
    left, count = free.copy(), 0
    if pipeline.nms is None:
        return left, 0
    sure = np.flatnonzero(z > above(pipeline.threshold.high + reach.one))[:MOST_SEEDS]
    for c in sure.tolist():
        if not left[c]:
            continue
        rivals = np.flatnonzero(can_outrank(z, np.array([c]), pipeline, reach)[0])
        near = perhaps_more(where[c][None], where[rivals], pipeline.nms - pipeline.margin)
        members = sorted({c, *rivals[near].tolist()})
        if len(members) > MOST_TOGETHER or loose[members].any():
            continue
        inner = where[np.array(members)]
        pairs = surely_more_pairs(inner[:, None], inner[None], pipeline.nms + pipeline.margin)
        np.fill_diagonal(pairs, True)
        if not pairs.all():
            continue
        rest = np.flatnonzero(left & ~loose)
        # The first alone leaves few to be compared with all.
        rest = rest[_overlapping(where, rest, members[0], pipeline)]
        if len(members) > 1 and len(rest):
            all_of = surely_more_pairs(where[rest][:, None], inner[None, 1:], pipeline.nms + pipeline.margin)
            rest = rest[all_of.all(axis=1)]
        left[rest] = False
        left[members] = False
        count += 1
    return left, count


def _overlapping(where: Boxes, places: IntArray, one: int, pipeline: Pipeline) -> BoolArray:
    """Which places surely overlap one location."""
    if pipeline.nms is None or not len(places):
        return np.zeros(len(places), dtype=np.bool_)
    return surely_more_pairs(where[places], where[one][None], pipeline.nms + pipeline.margin)


def _together(where: Boxes, places: IntArray, pipeline: Pipeline) -> IntArray:
    """Which places join, one after the other: each surely overlaps all that joined before."""
    chosen: list[int] = []
    if pipeline.nms is None or len(places) > _AT_ONCE:
        near = np.arange(len(places))
        while len(near) and len(chosen) < MOST_TOGETHER:
            chosen.append(int(near[0]))
            near = near[1:][_overlapping(where, places[near[1:]], int(places[near[0]]), pipeline)]
        return np.array(chosen, dtype=np.int64)
    inner = where[places]
    pairs = surely_more_pairs(inner[:, None], inner[None], pipeline.nms + pipeline.margin)
    left = np.ones(len(places), dtype=np.bool_)
    for i in range(len(places)):
        if left[i]:
            chosen.append(i)
            left &= pairs[i]
    return np.array(chosen, dtype=np.int64)


def _groups(
    z: FloatArray, where: Boxes, places: IntArray, owner: IntArray, pipeline: Pipeline, reach: Reach
) -> tuple[int, tuple[int, ...]]:
    """Partition locations into groups of which at most one is kept; none holds locations of an object and others.

    Returns:
        How many groups fire, and what it costs to make the others fire, ascending.
    """
    heads: list[int] = []
    left = places
    for _ in range(MOST_SEEDS if pipeline.nms is not None else 0):
        if not len(left):
            break
        seed = int(left[0])
        left = left[1:]
        # Those that may join, and where they stand among the ones that are left.
        near = np.flatnonzero(owner[left] == owner[seed])
        near = near[_overlapping(where, left[near], seed, pipeline)]
        heads.append(seed)
        if not len(near):
            continue
        joined = np.zeros(len(left), dtype=np.bool_)
        joined[near[_together(where, left[near], pipeline)[: MOST_TOGETHER - 1]]] = True
        left = left[~joined]
    # The best of each group stands for it: it fires, or it costs something.
    best = np.concatenate([z[heads], z[left]])
    now = best >= pipeline.threshold.low
    costs = reach.costs(pipeline.threshold.low - best[~now]).tolist() if not now.all() else []
    return int(now.sum()), tuple(sorted(c for c in costs if c <= reach.budget.limit))


__all__ = ["NOWHERE", "SHARED", "floor", "owners", "read", "vanishing", "witnesses"]

"""Objects seen at locations, without boxes and without suppression (DETECTION.md D2 and D3, mode `location`)."""

from __future__ import annotations

import numpy as np

from robspec.kernels.detection import BoolArray, FloatArray, Ledger, Objects, Reach, Threshold


def inside(centres: FloatArray, boxes: FloatArray) -> BoolArray:
    """Tell which centres lie strictly inside which boxes: [N, 2] and [M, 4] give [N, M]."""
    x, y = centres[:, 0, None], centres[:, 1, None]
    return np.asarray((x > boxes[:, 0]) & (x < boxes[:, 2]) & (y > boxes[:, 1]) & (y < boxes[:, 3]))


def owned(centres: FloatArray, real: FloatArray) -> BoolArray:
    """Tell which centres lie in one object of a class and in no other one of it: [N, M]."""
    found = inside(centres, real)
    found[found.sum(axis=1) != 1] = False
    return found


def elsewhere(centres: FloatArray, objects: Objects) -> BoolArray:
    """Tell which centres lie in nothing that is annotated, of whatever class: [N]."""
    return np.asarray(~inside(centres, objects.boxes).any(axis=1))


def read(
    scores: FloatArray, centres: FloatArray, objects: Objects, k: int, threshold: Threshold, least: int, reach: Reach
) -> Ledger:
    """Find what is certain of one class: an object is seen where enough of its own locations fire.

    Args:
        scores: [N], logits of the class.
        centres: [N, 2] of the locations, input pixels.
        objects: the annotation.
        k: the class.
        threshold: where a location fires.
        least: how many have to fire.
        reach: what an attack can do.

    Returns:
        What is seen, which locations fire where nothing is annotated, and what each change costs; exact over the
        scores within reach but for the roundings stated there.

    Source: DETECTION.md D2 and D3.
    """
    real, limit = objects.real(k), reach.budget.limit
    vanish = vanishing(scores, owned(centres, real), threshold, least, reach)
    stray = scores[elsewhere(centres, objects)]
    wrong = int((stray >= threshold.low).sum())
    gaps = threshold.low - stray[stray < threshold.low]
    appear = [c for c in reach.costs(gaps).tolist() if c <= limit]
    return Ledger(len(real), tuple(sorted(vanish.values())), len(vanish) + wrong, tuple(sorted(appear)), limit)


def vanishing(scores: FloatArray, mine: BoolArray, threshold: Threshold, least: int, reach: Reach) -> dict[int, int]:
    """What it costs to make each object vanish that is certainly seen.

    Args:
        scores: [N], logits of the class.
        mine: [N, M], of `owned`.
        threshold: where a location fires.
        least: how many have to fire.
        reach: what an attack can do.

    Returns:
        For the number of an object, its cost, at most one more than may be spent.
    """
    found = {}
    for m in range(mine.shape[1]):
        fired = np.sort(scores[mine[:, m] & (scores >= threshold.high)])
        if len(fired) >= least:
            costs = reach.costs(fired[: len(fired) - least + 1] - threshold.high)
            found[m] = min(int(costs.sum()), reach.budget.limit + 1)
    return found


def counted(
    scores: FloatArray, centres: FloatArray, objects: Objects, k: int, cut: float, least: int
) -> tuple[int, int, int]:
    """Count what is seen, what fires where nothing is, and what is missed, where nothing is attacked.

    Args:
        scores: [N].
        centres: [N, 2].
        objects: the annotation.
        k: the class.
        cut: the logit from which a location fires.
        least: how many have to fire.
    """
    firing, real = scores >= cut, objects.real(k)
    seen = int(((owned(centres, real) & firing[:, None]).sum(axis=0) >= least).sum())
    return seen, int((firing & elsewhere(centres, objects)).sum()), len(real) - seen

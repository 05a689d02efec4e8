"""Accuracy among the largest logits as a question of two classes: the own one, and what pushes it below the rank."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from robspec.ir.plans import Accuracy
from robspec.ir.types import Metric
from robspec.oracle.scene import Scene


def ranked(metric: Metric, scene: Scene) -> tuple[Metric, Scene]:
    """Give the same question as one of plain accuracy.

    Args:
        metric: any.
        scene: the image; ignored labels are classes or not.

    Returns:
        The metric and the scene as they are where no rank is asked; else plain accuracy on an image of two classes,
        whose margins cost at least what the rank costs, by less than one part in 2^50: what is affordable there is
        affordable here.
    """
    if metric.rank == 1:
        return metric, scene
    seen, kept = scene.counted(metric), scene.among(metric.rank)
    logits = np.zeros((len(scene), 2))
    for w in np.flatnonzero(seen).tolist():
        if kept[w]:
            cost = price([Fraction(v) for v in scene.logits[w].tolist()], int(scene.labels[w]), metric.rank, scene.q)
            logits[w, 0] = _margin(cost, scene.q)
        else:
            logits[w, 1] = 1.0
    reduced = Scene(logits, np.zeros(len(scene), np.int64), ~seen, scene.region, scene.weights, scene.q)
    return replace(metric, plan=Accuracy(), region=(), region_mask=False), reduced


def price(pixel: Sequence[Fraction], label: int, rank: int, q: int | None) -> Fraction:
    """Price that `rank` other classes are level with a pixel's own or above.

    Args:
        pixel: its logits.
        label: its own class.
        rank: at least 1, less than the number of classes.
        q: exponent of the norm, None for infinity.

    Returns:
        The least ||a||_q^q (||a|| for infinity), exact.
    """
    own = pixel[label]
    gaps = sorted(max(own - z, Fraction(0)) for j, z in enumerate(pixel) if j != label)[:rank]
    if q != 2:
        return gaps[-1] if q == 1 else gaps[-1] / 2
    best: Fraction | None = None
    for meeting in range(rank + 1):
        # The `meeting` dearest of them are raised to a common level, which the own class comes down to.
        level = sum(gaps[rank - meeting :], Fraction(0)) / (meeting + 1)
        cost = level**2 + sum((max(g - level, Fraction(0)) ** 2 for g in gaps), Fraction(0))
        best = cost if best is None else min(best, cost)
    return best if best is not None else Fraction(0)


def _margin(cost: Fraction, q: int | None) -> float:
    """The margin of two classes that costs this, rounded up to a double."""
    if q != 2:
        found, wanted = float(cost if q == 1 else cost * 2), cost if q == 1 else cost * 2
        while Fraction(found) < wanted:
            found = math.nextafter(found, math.inf)
        return found
    # sqrt(2 cost) to 80 bits, and up.
    scale = 160 + 2 * max(0, cost.denominator.bit_length() - cost.numerator.bit_length())
    root = Fraction(math.isqrt(math.ceil(2 * cost * 2**scale)) + 1, 2 ** (scale // 2)) if cost else Fraction(0)
    found = float(root)
    while Fraction(found) ** 2 < 2 * cost:
        found = math.nextafter(found, math.inf)
    return found

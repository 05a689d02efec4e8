"""What it costs to have objects missed while something of another class stands in their place (DETECTION.md D5).

The object falls below the threshold, and enough locations of another class that can cover it rise to it: these are
other scores, so that both are paid for. A location that can cover several objects is charged to each in equal parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from robspec.oracle.scene import BoolArray
from robspec.recheck.bracket import Bracket
from robspec.recheck.certain import (
    OVERLAP_ERROR,
    Account,
    ByOverlap,
    by_location_vanish,
    cut_short,
    inside,
    least,
    owned,
    stored,
)
from robspec.recheck.located import Attack, Located
from robspec.recheck.overlaps import Moving, ever


def mistakes(image: Located, classes: Sequence[int], attack: Attack) -> Account:
    """Price every object of some classes; 0 where it may be mislabelled as it is.

    Args:
        image: the image.
        classes: whose objects are asked about.
        attack: how far it goes.
    """
    at = Bracket.of(image.detector)
    by_location = image.detector.match == "location"
    need = image.detector.least if by_location else 1
    able = image.scores >= least(at, attack)
    if by_location:
        for c in range(len(image.scores)):
            able[c] &= ~_annotated(image, c)
    near = np.flatnonzero(able.any(axis=0))
    covers = {k: owned(image, k)[near] if by_location else _covers(image, k, near, attack) for k in classes}
    many = sum((table.sum(axis=1) for table in covers.values()), np.zeros(len(near), dtype=np.int64)).tolist()
    rise: dict[tuple[int, int], Fraction] = {}
    for c, i in zip(*np.nonzero(able[:, near]), strict=True):
        price = _lift(float(image.scores[c, near[i]]), attack, at)
        if price <= attack.budget:
            rise[int(c), int(i)] = price if attack.q is None else price / max(many[i], 1)
    by_class: dict[int, list[int]] = {}
    for c, i in rise:
        by_class.setdefault(c, []).append(i)
    found: list[Fraction] = []
    crowded = not by_location and cut_short(image, attack, at)
    for k, table in covers.items():
        fallen = {} if crowded or not table.shape[1] else _fallen(image, k, attack, at)
        for m in range(table.shape[1]):
            best: Fraction | None = None
            for c, places in by_class.items():
                prices = sorted(rise[c, i] for i in places if table[i, m])[:need] if c != k else []
                if len(prices) == need:
                    cost = attack.together(prices)
                    best = cost if best is None else min(best, cost)
            if best is None:
                found.append(_beyond(attack))
            else:
                found.append(attack.together([fallen.get(m, Fraction(0)), best]))
    return Account(len(found), tuple(sorted(found)), len(found), (), attack)


def _fallen(image: Located, k: int, attack: Attack, at: Bracket) -> dict[int, Fraction]:
    if image.detector.match == "location":
        return by_location_vanish(image, k, attack, at)
    return ByOverlap(image, k, attack, at).vanish()


def _beyond(attack: Attack) -> Fraction:
    """More than may be spent."""
    return attack.budget + 1


def _lift(score: float, attack: Attack, at: Bracket) -> Fraction:
    gap = Fraction(0) if at.low is None else at.low - attack.room - Fraction(score)
    return attack.price(max(gap, Fraction(0)))


def _annotated(image: Located, c: int) -> BoolArray:
    """Which locations lie in anything annotated with a class: what fires there for it is no mistake."""
    return np.asarray(inside(image, image.marked[image.classes == c]).any(axis=1))


def _covers(image: Located, k: int, near: np.typing.NDArray[np.int64], attack: Attack) -> BoolArray:
    """Which locations can cover which objects of a class, wherever their boxes go: [n, M]."""
    real, o = image.real(k), image.detector.overlap
    if image.boxes is None or o is None:
        raise ValueError("overlaps need boxes")
    i, m = (a.reshape(-1) for a in np.indices((len(near), len(real))))
    found = np.zeros(len(i), dtype=np.bool_)
    where = Moving(image.boxes[near], attack.far)
    for each in stored(real):
        found |= ever(where, i, Moving(each), m, o - OVERLAP_ERROR, strictly=False)
    return found.reshape(len(near), len(real))

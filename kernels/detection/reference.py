"""What is certain of the detections of one image, location by location in plain Python: the definition."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from robspec.kernels.detection import (
    MOST_SEEDS,
    MOST_TOGETHER,
    FloatArray,
    Ledger,
    Objects,
    Pipeline,
    Reach,
    above,
    below,
)
from robspec.kernels.detection.overlap import exact_sign

Range = tuple[list[float], list[float]]
NOWHERE, SHARED = -1, -2


def read(scores: FloatArray, boxes: FloatArray, objects: Objects, k: int, pipeline: Pipeline, reach: Reach) -> Ledger:
    """Find what is certain of one class of an image; as `cpu.read`, which must answer the same."""
    scene = _Scene(scores.tolist(), boxes.tolist(), objects, k, pipeline, reach)
    return scene.ledger()


class _Scene:
    def __init__(
        self,
        scores: Sequence[float],
        boxes: Sequence[Sequence[float]],
        objects: Objects,
        k: int,
        pipeline: Pipeline,
        reach: Reach,
    ) -> None:
        self.pipeline, self.reach = pipeline, reach
        self.real: list[list[float]] = objects.real(k).tolist()
        self.stored = [_stored(g) for g in self.real]
        self.crowds: list[list[float]] = objects.crowds(k).tolist()
        floor = below(pipeline.threshold.low - reach.one)
        order = sorted((i for i, z in enumerate(scores) if z >= floor), key=lambda i: (-scores[i], i))
        self.z = [scores[i] for i in order]
        self.boxes = [_moved(boxes[i], reach.rho) for i in order]
        self.owner = [self._owner(b) for b in self.boxes]

    def ledger(self) -> Ledger:
        limit = self.reach.budget.limit
        witness = [self._witness(i) for i in range(len(self.z))]
        vanish: dict[int, int] = {}
        for i, z in enumerate(self.z):
            if witness[i]:
                cost = self._cost(z - self.pipeline.threshold.high)
                vanish[self.owner[i]] = min(vanish.get(self.owner[i], 0) + cost, limit + 1)
        loose = [w and vanish[self.owner[i]] <= limit for i, w in enumerate(witness)]
        left, cliques = self._cliques([not self._excused(b) for b in self.boxes], loose)
        kept, appear = self._groups([i for i, stays in enumerate(left) if stays])
        costs = tuple(sorted(vanish.values()))
        return Ledger(len(self.real), costs, cliques + kept, tuple(sorted(appear)), limit)

    def _owner(self, box: Range) -> int:
        low = self.pipeline.overlap - self.pipeline.margin
        touched = [m for m in range(len(self.real)) if not all(_always_less(box, g, low) for g in self._both_of(m))]
        if not touched:
            return NOWHERE
        high = self.pipeline.overlap + self.pipeline.margin
        if len(touched) == 1 and self._surely_on(box, touched[0], high):
            return touched[0]
        return SHARED

    def _witness(self, i: int) -> bool:
        if self.owner[i] < 0 or self.z[i] < self.pipeline.threshold.high:
            return False
        for j in range(len(self.z)):
            if self.owner[j] != self.owner[i] and self._outranks(j, i) and self._may(i, j):
                return not _still(self.boxes[i]) and self._near(i)
        return True

    def _near(self, i: int) -> bool:
        o, t, margin = self.pipeline.overlap, self.pipeline.nms, self.pipeline.margin
        if t is None:
            return True
        if not self._surely_on(self.boxes[i], self.owner[i], 1 + o + margin - (t - margin)):
            return False
        most = o - margin + t - margin - 1
        others = [g for m in range(len(self.real)) if m != self.owner[i] for g in self._both_of(m)]
        return all(_always_less(self.boxes[i], g, most) for g in others)

    def _both_of(self, m: int) -> tuple[list[float], list[float]]:
        """An object as it is annotated, and as float32 has it."""
        return self.real[m], self.stored[m]

    def _surely_on(self, box: Range, m: int, least: Fraction) -> bool:
        return all(exact_sign(c, g, least) >= 0 for c in _corners(box) for g in self._both_of(m))

    def _outranks(self, j: int, i: int) -> bool:
        threshold = self.pipeline.threshold
        bar = below(below(self.z[i] - threshold.slack(self.z[i])) - self.reach.two)
        return self.z[j] >= max(bar, below(threshold.low - self.reach.one))

    def _may(self, i: int, j: int) -> bool:
        t = self.pipeline.nms
        return t is not None and _perhaps(self.boxes[i], self.boxes[j], t - self.pipeline.margin)

    def _must(self, i: int, j: int) -> bool:
        t = self.pipeline.nms
        return t is not None and _surely(self.boxes[i], self.boxes[j], t + self.pipeline.margin)

    def _excused(self, box: Range) -> bool:
        """Whether what is kept here is in a crowd and can be no object's."""
        o, margin = self.pipeline.overlap, self.pipeline.margin
        if any(not _always_less(box, g, o - margin) for g in (*self.real, *self.stored)):
            return False
        low, high = box
        small, large = [high[0], high[1], low[2], low[3]], [low[0], low[1], high[2], high[3]]
        if not _area(large):
            return False
        least = (o + margin) * _area(large)
        return any(all(_both(small, c) >= least for c in (g, _stored(g))) for g in self.crowds)

    def _cliques(self, left: list[bool], loose: list[bool]) -> tuple[list[bool], int]:
        left, count = list(left), 0
        if self.pipeline.nms is None:
            return left, 0
        sure = [i for i, z in enumerate(self.z) if z > above(self.pipeline.threshold.high + self.reach.one)]
        for c in sure[:MOST_SEEDS]:
            if not left[c]:
                continue
            members = [j for j in range(len(self.z)) if j == c or (self._outranks(j, c) and self._may(c, j))]
            if len(members) > MOST_TOGETHER or any(loose[j] for j in members):
                continue
            if not all(self._must(i, j) for i in members for j in members if i != j):
                continue
            for x in range(len(self.z)):
                if left[x] and not loose[x] and all(self._must(x, j) for j in members):
                    left[x] = False
            for j in members:
                left[j] = False
            count += 1
        return left, count

    def _groups(self, places: list[int]) -> tuple[int, list[int]]:
        heads = []
        for _ in range(MOST_SEEDS if self.pipeline.nms is not None else 0):
            if not places:
                break
            group = [places[0]]
            for i in places[1:]:
                same = self.owner[i] == self.owner[group[0]]
                if same and len(group) < MOST_TOGETHER and all(self._must(i, j) for j in group):
                    group.append(i)
            heads.append(group[0])
            places = [i for i in places if i not in group]
        heads += places
        firing = [i for i in heads if self.z[i] >= self.pipeline.threshold.low]
        costs = [self._cost(self.pipeline.threshold.low - self.z[i]) for i in heads if i not in firing]
        return len(firing), [c for c in costs if c <= self.reach.budget.limit]

    def _cost(self, gap: float) -> int:
        b = self.reach.budget
        if b.exponent == 0:
            return int(gap > b.scale)
        power = gap * b.scale if b.exponent == 1 else gap * gap * b.scale
        return min(math.floor(min(power, 2.0**62)), b.limit + 1)


def _stored(box: list[float]) -> list[float]:
    """A box as float32 has it."""
    return [float(np.float32(c)) for c in box]


def _moved(box: Sequence[float], rho: float) -> Range:
    if rho == 0.0:
        return list(box), list(box)
    return [below(x - rho) for x in box], [above(x + rho) for x in box]


def _still(box: Range) -> bool:
    return box[0] == box[1]


def _corners(box: Range) -> list[list[float]]:
    """Where the overlap with a box that stays is least."""
    return [list(c) for c in itertools.product(*zip(*box, strict=True))]


def _always_less(box: Range, fixed: list[float], threshold: Fraction) -> bool:
    """Compare the overlap with a box that stays where it is largest."""
    nearest = [min(max(g, low), high) for g, low, high in zip(fixed, *box, strict=True)]
    return exact_sign(nearest, fixed, threshold) < 0


def _surely(a: Range, b: Range, t: Fraction) -> bool:
    sides = itertools.product((0, 1), repeat=4)
    return all(
        exact_sign([a[s][n] for n, s in enumerate(side)], [b[1 - s][n] for n, s in enumerate(side)], t) > 0
        for side in sides
    )


def _perhaps(a: Range, b: Range, t: Fraction) -> bool:
    choices = []
    for n in range(4):
        low, high = max(a[0][n], b[0][n]), min(a[1][n], b[1][n])
        if low <= high:
            choices.append([(low, low), (high, high)])
        else:
            choices.append([(a[0][n], b[1][n]) if a[0][n] > b[1][n] else (a[1][n], b[0][n])])
    return any(exact_sign([p for p, _ in c], [q for _, q in c], t) > 0 for c in itertools.product(*choices))


def _area(a: Sequence[float]) -> Fraction:
    return max(Fraction(0), Fraction(a[2]) - Fraction(a[0])) * max(Fraction(0), Fraction(a[3]) - Fraction(a[1]))


def _both(a: Sequence[float], b: Sequence[float]) -> Fraction:
    return _area([max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])])

"""Attacks on a detector's scores as integer programs, paid for and judged in exact rationals.

The program chooses which objects vanish and which detections are added; what it chooses is made a set of moved
scores, whose length is summed exactly, and the pipeline runs on them anew. So whatever it finds is an attack within
reach, and a certified value may not be better. Boxes stay where they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from robspec.ir.types import Detector, Metric
from robspec.oracle import solver
from robspec.oracle._lazy import LazyModule
from robspec.oracle.detections import Annotated, Box, matched, overlap, suppressed
from robspec.oracle.moves import Reach
from robspec.oracle.scene import ratio_value

cp: Any = LazyModule("cvxpy")
BEYOND = Fraction(1, 10**9)
"""How far past the threshold a score is moved, so that its rounding as a double does not matter."""
MOST = 150
"""Scores of a kind that a program chooses from, the cheapest."""

Key = tuple[int, int]
"""A class and a location."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image as the pipeline sees it.

    Args:
        scores: [K][N], rationals that the doubles stand for.
        boxes: [N]; empty where matches are by location.
        centres: [N]; empty where matches are by overlap.
        objects: class, and what is annotated.
        detector: what is done with the scores.
        threshold: the score from which locations fire.
        q: exponent of the norm on the scores, None for infinity.
    """

    scores: tuple[tuple[Fraction, ...], ...]
    boxes: tuple[Box, ...]
    centres: tuple[tuple[Fraction, Fraction], ...]
    objects: tuple[tuple[int, Annotated], ...]
    detector: Detector
    threshold: Fraction
    q: int | None

    def of(self, k: int) -> list[Annotated]:
        """The annotated objects of a class."""
        return [g for c, g in self.objects if c == k]

    def own(self, k: int, m: int) -> list[int]:
        """Locations that can stand for object m of a class, by the matching alone."""
        objects = self.of(k)
        if self.detector.match == "location":
            real = [g.box for g in objects if g.counts]
            inside = [[_inside(c, b) for b in real] for c in self.centres]
            n = [j for j, g in enumerate(objects) if g.counts].index(m)
            return [i for i, row in enumerate(inside) if row[n] and sum(row) == 1]
        o = self.detector.overlap or Fraction(1)
        return [i for i, b in enumerate(self.boxes) if overlap(b, objects[m].box) >= o]


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of one class: numbers of found objects, and locations of wrong detections."""

    found: frozenset[int]
    wrong: tuple[int, ...]


def threshold_of(detector: Detector) -> Fraction:
    """The score from which locations fire, as a double."""
    tau = detector.threshold
    return tau if detector.of == "score" else Fraction(math.log(tau / (1 - tau)))


def run(image: Image, moved: dict[Key, Fraction]) -> list[Seen]:
    """Run the pipeline where some scores are moved.

    Args:
        image: the image.
        moved: new scores.

    Returns:
        What became of each class.
    """
    detector = image.detector
    if detector.match == "location":
        return [_by_location(image, k, row) for k, row in enumerate(_moved(image, moved))]
    return [_by_overlap(image, k, found) for k, found in kept(image, moved).items()]


def _moved(image: Image, moved: dict[Key, Fraction]) -> list[list[Fraction]]:
    return [[moved.get((k, i), z) for i, z in enumerate(row)] for k, row in enumerate(image.scores)]


def kept(image: Image, moved: dict[Key, Fraction]) -> dict[int, list[int]]:
    """Run threshold, suppression and limit; arguments as for `run`.

    Returns:
        Of every class, the locations of its detections, the best first.
    """
    detector, scores = image.detector, _moved(image, moved)
    found: dict[int, list[int]] = {}
    for k, row in enumerate(scores):
        firing = sorted((i for i, z in enumerate(row) if z >= image.threshold), key=lambda i, row=row: (-row[i], i))  # type: ignore[misc]
        found[k] = suppressed(firing, image.boxes, detector.nms)
    if detector.limit is not None:
        best = sorted(((-scores[k][i], k, n) for k, each in found.items() for n, i in enumerate(each)))
        allowed = {(k, n) for _, k, n in best[: detector.limit]}
        found = {k: [i for n, i in enumerate(each) if (k, n) in allowed] for k, each in found.items()}
    return found


def _by_overlap(image: Image, k: int, kept: Sequence[int]) -> Seen:
    objects, o = image.of(k), image.detector.overlap or Fraction(1)
    rights = matched(kept, image.boxes, objects, o)
    found = set[int]()
    for i, right in zip(kept, rights, strict=True):
        if right:
            left = [m for m, g in enumerate(objects) if g.counts and m not in found]
            found.add(max((overlap(image.boxes[i], objects[m].box), m) for m in left)[1])
    return Seen(frozenset(found), tuple(i for i, right in zip(kept, rights, strict=True) if right is False))


def _by_location(image: Image, k: int, row: Sequence[Fraction]) -> Seen:
    firing = {i for i, z in enumerate(row) if z >= image.threshold}
    real = [m for m, g in enumerate(image.of(k)) if g.counts]
    found = frozenset(m for m in real if len(firing & set(image.own(k, m))) >= image.detector.least)
    stray = [i for i in sorted(firing) if not any(_inside(image.centres[i], g.box) for _, g in image.objects)]
    return Seen(found, tuple(stray))


def _inside(centre: tuple[Fraction, Fraction], box: Box) -> bool:
    return box[0] < centre[0] < box[2] and box[1] < centre[1] < box[3]


def value(metric: Metric, image: Image, moved: dict[Key, Fraction]) -> Fraction | None:
    """A metric of objects where some scores are moved; None where it is undefined."""
    return ratio_value(metric, (*counts(metric, image, moved), 1))


def counts(metric: Metric, image: Image, moved: dict[Key, Fraction]) -> tuple[int, int, int]:
    """TP, FP and FN as a metric counts them where some scores are moved."""
    seen = run(image, moved)
    classes = metric.classes or tuple(range(len(image.scores)))
    total = sum(g.counts for k in classes for g in image.of(k))
    if metric.mislabelled:
        wrong = _mistaken(image, seen, classes, moved)
        return total - wrong, 0, wrong
    tp = sum(len(seen[k].found) for k in classes)
    return tp, sum(len(seen[k].wrong) for k in classes), total - tp


def _mistaken(image: Image, seen: Sequence[Seen], classes: Sequence[int], moved: dict[Key, Fraction]) -> int:
    number = 0
    for k in classes:
        for m, g in enumerate(image.of(k)):
            if not g.counts or m in seen[k].found:
                continue
            own = set(image.own(k, m))
            for c in (c for c in range(len(seen)) if c != k):
                if image.detector.match == "location":
                    row = image.scores[c]
                    firing = {i for i in own if moved.get((c, i), row[i]) >= image.threshold}
                    strange = [i for i in firing if not any(_inside(image.centres[i], h.box) for h in image.of(c))]
                    covered = len(strange) >= image.detector.least
                else:
                    covered = bool(own & set(seen[c].wrong))
                if covered:
                    number += 1
                    break
    return number


def worst(metric: Metric, image: Image, reach: Reach) -> tuple[Fraction, int] | None:
    """The worst value that the programs find within reach, and how many choices they had.

    Args:
        metric: of the objects of one image, defined on it.
        image: the image.
        reach: L eps, exact; not infinite.

    Returns:
        A value that an attack within reach attains; None where the metric is undefined or nothing was solved.
    """
    clean = value(metric, image, {})
    if clean is None or isinstance(reach, float):
        return None
    sign = -1 if metric.lower_is_better else 1
    found, choices = attacks(metric, image, reach)
    reached = [value(metric, image, moved) for moved in found]
    return min((v for v in reached if v is not None), key=lambda v: sign * v), choices


def attacks(metric: Metric, image: Image, reach: Fraction) -> tuple[list[dict[Key, Fraction]], int]:
    """What the programs propose: objects that vanish, detections that appear, and both.

    Args:
        metric: of objects; what counts is decided by its classes and by whether it counts mislabelled ones.
        image: the image.
        reach: L eps, exact.

    Returns:
        New scores, within reach beyond doubt, none first; and how many choices there were.
    """
    budget = reach if image.q is None else reach**image.q
    found: list[dict[Key, Fraction]] = [{}]
    choices = 0
    for weights in ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0)):
        made = _Program(metric, image, budget).solve(*weights)
        if made is not None:
            paid = _paid(image, made[0], budget)
            choices = max(choices, made[1])
            found += [paid] if paid not in found else []
    return found, choices


def _price(image: Image, far: Fraction) -> Fraction:
    return far if image.q is None else abs(far) ** image.q


def _paid(image: Image, moved: dict[Key, Fraction], budget: Fraction) -> dict[Key, Fraction]:
    """Leave out the dearest moves until the budget pays for the rest, exactly."""
    prices = {key: _price(image, abs(z - image.scores[key[0]][key[1]])) for key, z in moved.items()}
    left = sorted(prices, key=lambda key: prices[key])
    while left and (max(prices[k] for k in left) if image.q is None else sum(prices[k] for k in left)) > budget:
        left.pop()
    return {key: moved[key] for key in left}


class _Program:
    """Which objects vanish and which detections appear, as an integer program."""

    def __init__(self, metric: Metric, image: Image, budget: Fraction) -> None:
        self.image, self.budget = image, budget
        self.mislabelled = metric.mislabelled
        self.classes = metric.classes or tuple(range(len(image.scores)))

    def _to(self, key: Key, *, up: bool) -> Fraction:
        """Where a score is moved to: just past the threshold, if it is not there already."""
        z, t = self.image.scores[key[0]][key[1]], self.image.threshold
        return max(z, t + BEYOND) if up else min(z, t - BEYOND)

    def _cost(self, key: Key, *, up: bool) -> float:
        far = abs(self._to(key, up=up) - self.image.scores[key[0]][key[1]])
        return float(_price(self.image, far) / self.budget) if self.budget else math.inf * bool(far)

    def _objects(self) -> Iterator[tuple[int, int, list[Key]]]:
        for k in self.classes:
            for m, g in enumerate(self.image.of(k)):
                if g.counts:
                    row = self.image.scores[k]
                    yield k, m, [(k, i) for i in self.image.own(k, m) if row[i] >= self.image.threshold]

    def _rising(self) -> list[Key]:
        """Locations of no object whose detection would stand alone, the cheapest."""
        image, found = self.image, list[Key]()
        for k in self.classes:
            covered = {i for m, g in enumerate(image.of(k)) if g.counts for i in image.own(k, m)}
            firing = [i for i, z in enumerate(image.scores[k]) if z >= image.threshold]
            for i, z in enumerate(image.scores[k]):
                if z >= image.threshold or i in covered or self._cost((k, i), up=True) > 1:
                    continue
                if image.detector.match == "location":
                    if not any(_inside(image.centres[i], g.box) for _, g in image.objects):
                        found.append((k, i))
                elif not any(self._conflict(i, j) for j in firing):
                    found.append((k, i))
        return sorted(found, key=lambda key: self._cost(key, up=True))[:MOST]

    def _conflict(self, i: int, j: int) -> bool:
        nms = self.image.detector.nms
        return bool(self.image.boxes) and nms is not None and overlap(self.image.boxes[i], self.image.boxes[j]) > nms

    def solve(self, vanish: float, appear: float) -> tuple[dict[Key, Fraction], int] | None:
        """Maximise the weighted number of objects that vanish and of detections that appear."""
        image, least = self.image, self.image.detector.least
        objects = [(k, m, keys) for k, m, keys in self._objects() if keys or self.mislabelled]
        falls = sorted({key for _, _, keys in objects for key in keys})
        rises = self._rising() if appear and not self.mislabelled else []
        covers: dict[tuple[int, int, int], list[Key]] = {}
        if self.mislabelled:
            for k, m, _ in objects:
                for c in (c for c in range(len(image.scores)) if c != k):
                    covers[k, m, c] = [(c, i) for i in image.own(k, m) if self._cost((c, i), up=True) <= 1]
            rises = sorted({key for keys in covers.values() for key in keys})
        if not falls and not rises:
            return {}, 0
        one = cp.Variable(len(falls) + len(rises), boolean=True)
        gone = cp.Variable(max(len(objects), 1), boolean=True)
        place = {key: n for n, key in enumerate(falls)}
        lift = {key: len(falls) + n for n, key in enumerate(rises)}
        costs = [min(self._cost(key, up=False), 2.0) for key in falls]
        costs += [min(self._cost(key, up=True), 2.0) for key in rises]
        rules = [one[n] == 0 for n, cost in enumerate(costs) if cost > 1]
        if image.q is not None:
            rules.append(sum(solver.UNIT * c * one[n] for n, c in enumerate(costs)) <= solver.UNIT)
        for n, (k, m, keys) in enumerate(objects):
            if image.detector.match == "location":
                if keys:
                    rules.append(sum(one[place[key]] for key in keys) >= (len(keys) - least + 1) * gone[n])
            else:
                rules += [one[place[key]] >= gone[n] for key in keys]
            if self.mislabelled:
                # Some class has enough of its locations lifted.
                options = [covers[k, m, c] for c in range(len(image.scores)) if c != k]
                which = cp.Variable(max(len(options), 1), boolean=True)
                rules.append(cp.sum(which) >= gone[n])
                for j, keys_up in enumerate(options):
                    if len(keys_up) < least:
                        rules.append(which[j] == 0)
                    else:
                        rules.append(sum(one[lift[key]] for key in keys_up) >= least * which[j])
        if not self.mislabelled and image.boxes:
            for n, (k, i) in enumerate(rises):
                rules += [
                    one[lift[k, i]] + one[lift[c, j]] <= 1 for c, j in rises[:n] if c == k and self._conflict(i, j)
                ]
        gain = vanish * cp.sum(gone) if objects else 0
        if rises and not self.mislabelled:
            gain = gain + appear * cp.sum(one[len(falls) :])
        problem = cp.Problem(cp.Maximize(gain - 1e-4 * cp.sum(one)), [*rules, *([] if objects else [gone == 0])])
        found = solver.integer(problem, [one], len(costs))
        if found is None:
            return None
        moved = {key: self._to(key, up=False) for key, n in place.items() if found.taken[n]}
        moved |= {key: self._to(key, up=True) for key, n in lift.items() if found.taken[n]}
        return moved, len(costs)

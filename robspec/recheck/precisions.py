"""Average precision of a detector over all images, in exact arithmetic (DETECTION.md D4)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from robspec.ir.plans import Precisions
from robspec.ir.types import Detector, Metric, Property
from robspec.oracle import objects as oracle
from robspec.oracle.detections import Verdict, average_precision, coco_points
from robspec.oracle.objects_together import MOST, verdicts
from robspec.recheck.bracket import PROBABILITY_ERROR, Bracket
from robspec.recheck.certain import account, least
from robspec.recheck.conditions import metrics_of
from robspec.recheck.detections import Question, attack_of, together
from robspec.recheck.located import Attack, Kept, Located
from robspec.recheck.settled import ideal, order_settled, read_at, settled
from robspec.semantics.constant import Constant

Pair: TypeAlias = tuple[int, Fraction]
"""A class and an overlap."""
LEVELS = 12
"""Clean scores that the bound is read at, and as many that an attack leaves of them; any would do."""
SUMMED = 1 - Fraction(1, 2**50)
"""COCO adds 2^-52 to each divisor and adds up 101 doubles."""
_POINTS = coco_points()


class PrecisionsPool:
    """Average precision over the images it is given; as `pooled.Pool`.

    Args:
        prop: of one metric, whose plan is `Precisions`.
        constant: of the property.
    """

    def __init__(self, prop: Property, constant: Constant) -> None:
        self.metric: Metric = next(metrics_of(prop))
        if not isinstance(self.metric.plan, Precisions):
            raise ValueError(f"{self.metric.name} is no average precision")
        self._query, self._constant = prop.query, constant
        self._images: Kept | None = None
        self._found: dict[Pair, list[Verdict]] = {}
        self._total: dict[int, int] = {}
        self._detector: Detector | None = None
        self._scores = 1

    def add(self, image: Located) -> None:
        """Read one image."""
        self._images = self._images or Kept(image.detector)
        self._images.add(image)
        self._detector, self._scores = image.detector, len(image)
        for k in image.asked(self.metric):
            self._total[k] = self._total.get(k, 0) + len(image.real(k))
        for pair, found in verdicts(self.metric, image.clean(), {}).items():
            self._found.setdefault(pair, []).extend(found)

    def entry(self) -> dict[str, Any]:
        """What holds of all images together."""
        values = [average_precision(found, self._total[k], _POINTS) for (k, _), found in self._pairs()]
        clean = sum((v for v in values if v is not None), Fraction(0)) / len(values) if values else None
        ask = lru_cache(maxsize=64)(self._worst)
        count = 0 if self._images is None else self._images.count
        question = Question(self._constant, clean, Fraction(0), ask)
        best = None
        if clean is not None and (self._constant.rounding or self._constant.boxes_rounding):
            best = clean if self._settled() else ideal(self.metric, clean, sum(self._total.values()))
        return together(count, self._query, question, clean, self._scores, self.metric, best)

    def _settled(self) -> bool:
        """Whether rounding decides nothing on any image, at any overlap, nor the order of what is found on all."""
        images = self._images or ()
        overlaps = self.metric.arguments if self._constant.boxes_rounding else self.metric.arguments[:1]
        each = all(settled(read_at(image, o), self._constant) for image in images for o in overlaps)
        return each and order_settled(images, self._constant)

    def _pairs(self) -> list[tuple[Pair, list[Verdict]]]:
        return [(pair, found) for pair, found in self._found.items() if self._total[pair[0]]]

    def _worst(self, eps: Fraction, wide: bool) -> Fraction:
        detector = self._detector
        pairs = self._pairs()
        if detector is None or not pairs:
            return Fraction(0)
        levels = {pair: list(self._levels(found, detector, eps)) for pair, found in pairs}
        sums = {pair: [[0, 0] for _ in rows] for pair, rows in levels.items()}
        for image in self._images or ():
            attack = attack_of(eps, self._constant, len(image), wide)
            for (k, o), rows in levels.items():
                for row, at in zip(sums[k, o], rows, strict=True):
                    right, wrong = certain_at(image, k, o, at, attack)
                    row[0] += right
                    row[1] += wrong
        values = [average([(t, p) for t, p in rows], self._total[pair[0]]) for pair, rows in sums.items()]
        return sum(values, Fraction(0)) / len(values) * SUMMED

    def _levels(self, found: Sequence[Verdict], detector: Detector, eps: Fraction) -> Iterator[Bracket]:
        """Thresholds to read the bound at, none below the detector's own; doubles, as any are sound."""
        yield Bracket.of(detector)
        hits = np.unique(np.array([float(v.score) for v in found if v.right], dtype=np.float64))
        if len(hits) > LEVELS:
            hits = hits[np.linspace(0, len(hits) - 1, LEVELS).astype(np.int64)]
        cut, fall = float(oracle.threshold_of(detector)), float(eps * self._constant.value)
        for level in sorted({x for s in hits.tolist() for x in (s, s - fall) if x > cut}):
            if detector.of == "score":
                yield Bracket.of_score(Fraction(level))
                continue
            # Just below the score, so that its own error does not leave it out.
            tau = Fraction(1 / (1 + math.exp(-level))) - 3 * PROBABILITY_ERROR / 2
            if tau > detector.threshold:
                yield Bracket.of_probability(tau)


def certain_at(image: Located, k: int, o: Fraction, at: Bracket, attack: Attack) -> tuple[int, int]:
    """At least so many detections of a class are right and at most so many wrong, at one threshold."""
    found = account(image, [k], attack, bracket=at, overlap=o)
    right = len(found.vanish) - found.lost
    if right and _too_many(image, k, at, attack):
        right = 0
    return right, max(found.kept - len(found.vanish) + found.added, 0)


def _too_many(image: Located, k: int, at: Bracket, attack: Attack) -> bool:
    """Whether more might be kept than COCO looks at; what lies in a crowd takes a place too."""
    if int((image.scores[k] >= least(at, attack)).sum()) <= MOST:
        return False
    plain = replace(image, crowd=np.zeros_like(image.crowd), ignored=image.ignored | image.crowd)
    found = account(plain, [k], attack, bracket=at)
    return found.kept + found.added > MOST


def average(steps: Sequence[tuple[int, int]], total: int) -> Fraction:
    """Average over COCO's recalls the best precision that is certain at that recall or above."""
    value = Fraction(0)
    sure = [(Fraction(t / total), Fraction(t, t + p)) for t, p in steps if t]
    for recall in _POINTS:
        value += max((precision for reached, precision in sure if reached >= recall), default=Fraction(0))
    return value / len(_POINTS)

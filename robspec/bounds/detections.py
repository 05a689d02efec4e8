"""Average precision of a detector under attack, as COCO averages it (DETECTION.md D4)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from robspec.bounds import _objects as ledgers
from robspec.bounds import search
from robspec.bounds._spooled import Scenes
from robspec.bounds.context import Context
from robspec.bounds.scene import Scene, certain, clean, cut_of, reach_of, threshold_of
from robspec.bounds.search import Found
from robspec.ir.types import Detector, Metric
from robspec.kernels.detection import FloatArray, Objects, Reach, Threshold
from robspec.kernels.detection.cpu import floor
from robspec.semantics.constant import Constant

POINTS = (*(i * 0.01 for i in range(100)), 1.0)
"""Recalls at which COCO reads the envelope of the precision, doubles as numpy's linspace gives them."""
MOST_DETECTIONS = 100
"""Detections of a class and an image that COCO looks at, the best ones."""
MOST_THRESHOLDS = 12
"""Clean scores that the bound is read at, and as many that an attack has lowered them to."""
ROUNDING = 1 - Fraction(1, 2**50)
"""COCO adds 2^-52 to each divisor and adds up 101 doubles."""


class AveragePrecisions:
    """The mean of COCO's average precision over classes and overlaps; as `pooled.Pool`.

    At any threshold of the computed scores at least T of M objects are found and at most P detections are wrong,
    whatever the attacks do, so that no curve of recall and precision lies below the steps that these give.

    Args:
        metric: its arguments are overlaps; its classes those averaged over, all for none.
        constant: Lipschitz constants of scores and boxes for the attack's norm.
    """

    def __init__(self, metric: Metric, constant: Constant) -> None:
        self.metric, self.constant = metric, constant
        self._scenes = Scenes()
        self._objects: dict[int, int] = {}
        self._found: dict[tuple[int, Fraction], tuple[list[FloatArray], list[FloatArray]]] = {}

    @property
    def images(self) -> int:
        """How many images it was given."""
        return self._scenes.images

    def add(self, context: Context) -> None:
        """Read one batch."""
        self._scenes.add(context)
        detector, scenes = context.detections()
        for scene in scenes:
            classes = self.metric.classes or tuple(range(len(scene.scores)))
            for k in classes:
                self._objects[k] = self._objects.get(k, 0) + len(scene.objects.real(k))
            for o in self.metric.arguments:
                for k, found in clean(scene, detector, classes, overlap=o, most=MOST_DETECTIONS).items():
                    scores, right = self._found.setdefault((k, o), ([], []))
                    scores.append(found.scores)
                    right.append(found.right)

    def clean(self) -> Fraction | None:
        """Compute the clean value, exactly but for recalls, which are compared in doubles; None without objects."""
        return self._mean({pair: self._curve(*pair) for pair in self._pairs()})

    def worst_case(self, budgets: Sequence[Fraction]) -> tuple[Fraction | None, ...]:
        """Bound the value within each budget from below (Q1)."""
        return tuple(self._worst(eps) for eps in budgets)

    def radius(self, gamma: Fraction | None, *, strict: bool) -> Found:
        """Bound the budget per image at which the value falls to a threshold (Q2)."""
        value = self.clean()
        if value is None or gamma is None:
            return None

        def worst(eps: Fraction) -> Fraction:
            return self._worst(eps) or Fraction(0)

        still = not self.constant.value and not self.constant.boxes
        last = worst(Fraction(1)) if still else Fraction(0)
        return search.coarse_radius(self.metric, value, last, gamma, worst, strict=strict)

    def close(self) -> None:
        """Delete what was kept."""
        self._scenes.close()

    def _pairs(self) -> list[tuple[int, Fraction]]:
        return [(k, o) for k, o in self._found if self._objects[k]]

    def _worst(self, eps: Fraction) -> Fraction | None:
        levels = {pair: list(self._levels(pair, self._scenes.detector, eps)) for pair in self._pairs()}
        right = {pair: [0] * len(rows) for pair, rows in levels.items()}
        wrong = {pair: [0] * len(rows) for pair, rows in levels.items()}
        for scene in self._scenes:
            for (k, o), rows in levels.items():
                for n, level in enumerate(rows):
                    tp, fp = step(scene, self._scenes.detector, k, o, level, eps, self.constant)
                    right[k, o][n] += tp
                    wrong[k, o][n] += fp
        bounds = {
            (k, o): average(list(zip(right[k, o], wrong[k, o], strict=True)), self._objects[k]) for k, o in levels
        }
        mean = self._mean(bounds)
        return None if mean is None else mean * ROUNDING

    def _mean(self, values: dict[tuple[int, Fraction], Fraction]) -> Fraction | None:
        return sum(values.values(), Fraction(0)) / len(values) if values else None

    def _curve(self, k: int, o: Fraction) -> Fraction:
        scores, right = (np.concatenate(parts) for parts in self._found[k, o])
        order = np.argsort(-scores, kind="stable")
        hits = right[order].astype(np.int64).cumsum().tolist()
        return average([(tp, n - tp) for n, tp in enumerate(hits, start=1)], self._objects[k])

    def _levels(self, pair: tuple[int, Fraction], detector: Detector, eps: Fraction) -> Iterator[Threshold]:
        """Thresholds to read the bound at, any being sound: the detector's, clean scores and what is left of them."""
        yield threshold_of(detector)
        scores, right = (np.concatenate(parts) for parts in self._found[pair])
        hits = np.unique(scores[right > 0])
        if len(hits) > MOST_THRESHOLDS:
            hits = hits[np.linspace(0, len(hits) - 1, MOST_THRESHOLDS).astype(np.int64)]
        cut, fall = cut_of(detector), float(eps * self.constant.value)
        for level in sorted({x for s in hits.tolist() for x in (s, s - fall) if x > cut}):
            # Just below the score, so that its own bracket does not leave it out.
            if detector.of == "score":
                yield Threshold.of_score(Fraction(level))
            else:
                found = _below(level)
                if found > detector.threshold:
                    yield Threshold.of_probability(found)


def step(
    scene: Scene, detector: Detector, k: int, overlap: Fraction, level: Threshold, eps: Fraction, constant: Constant
) -> tuple[int, int]:
    """Bound the detections of an image at one threshold, whatever the attack.

    Args:
        scene: the image.
        detector: what is done with its scores.
        k: the class.
        overlap: of a match.
        level: the threshold, none below the detector's.
        eps: of the attack.
        constant: Lipschitz constants of scores and boxes.

    Returns:
        At least so many are right, at most so many wrong.
    """
    reach = reach_of(eps, constant, scene.scores.size)
    ledger = certain(scene, detector, [k], reach, threshold=level, overlap=overlap)
    right = 0 if _cut_short(scene, detector, k, reach, level) else ledger.found - ledgers.lost(ledger)
    return right, max(ledger.kept - ledger.found + ledgers.added(ledger), 0)


def _cut_short(scene: Scene, detector: Detector, k: int, reach: Reach, level: Threshold) -> bool:
    """Whether COCO might look at some detections of a class only, of those that reach a threshold."""
    if int((scene.scores[k] >= floor(level, reach)).sum()) <= MOST_DETECTIONS:
        return False
    # What lies in a crowd is no mistake, but it is one of the detections.
    o = scene.objects
    plain = Objects(o.boxes, o.classes, np.zeros_like(o.crowd), o.ignored | o.crowd)
    ledger = certain(replace(scene, objects=plain), detector, [k], reach, threshold=level)
    return ledger.kept + ledgers.added(ledger) > MOST_DETECTIONS


def _below(logit: float) -> Fraction:
    """A probability whose bracket ends below a logit."""
    return Fraction(1 / (1 + math.exp(-logit))) - Fraction(3, 2**23)


def average(steps: Sequence[tuple[int, int]], total: int) -> Fraction:
    """Average the precision that is certain at COCO's recalls.

    Args:
        steps: at any thresholds, at least so many right and at most so many wrong detections.
        total: how many objects there are, at least 1.
    """
    best, value, at = Fraction(0), Fraction(0), len(POINTS) - 1
    # From the highest recall down; what is certain at a higher recall is certain at a lower one.
    for tp, fp in sorted(steps, reverse=True):
        while at >= 0 and tp / total < POINTS[at]:
            value, at = value + best, at - 1
        if tp:
            best = max(best, Fraction(tp, tp + fp))
    return (value + (at + 1) * best) / len(POINTS)

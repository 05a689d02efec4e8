"""One image as the definitions see it: logits, annotation, and the value of a metric for any predicted labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from robspec.ir.plans import Accuracy, Mean, MeanRate, Quotient, Rate, Stability, Sum, Weighted, unweighted
from robspec.ir.types import Metric

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Scene:
    """The pixels of one image, in reading order.

    Args:
        logits: [N, K], float64, exactly the stored logits; K = 1 is a single logit with threshold 0.
        labels: [N]; zeros when nothing asks for an annotation.
        ignored: [N], pixels annotated with the ignore label.
        region: [N], pixels of the region file; all True without one.
        weights: [N], the weight file; ones without one.
        q: exponent of the norm on the logits, None for infinity.
    """

    logits: FloatArray
    labels: IntArray
    ignored: BoolArray
    region: BoolArray
    weights: FloatArray
    q: int | None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """Number of classes, 2 for a single logit."""
        return max(int(self.logits.shape[1]), 2)

    @property
    def predicted(self) -> IntArray:
        """The clean prediction: first index of the maximum; for a single logit, class 1 above 0."""
        if self.logits.shape[1] == 1:
            return np.asarray(self.logits[:, 0] > 0, dtype=np.int64)
        return np.asarray(np.argmax(self.logits, axis=1), dtype=np.int64)

    def among(self, rank: int) -> BoolArray:
        """Which pixels have one of the `rank` largest logits at their label; equal ones rank in class order."""
        if self.logits.shape[1] == 1:
            return np.ones(len(self), np.bool_) if rank > 1 else self.predicted == self.labels
        order = np.argsort(-self.logits, axis=1, kind="stable")
        return np.asarray((order[:, :rank] == self.labels[:, None]).any(axis=1))

    def at(self, pixels: IntArray) -> Scene:
        """The same image with some of its pixels only."""
        chosen = (self.logits[pixels], self.labels[pixels], self.ignored[pixels], self.region[pixels])
        return Scene(*chosen, self.weights[pixels], self.q)

    def counted(self, metric: Metric) -> BoolArray:
        """Which pixels a metric looks at: not ignored, and inside its region."""
        seen = np.ones(len(self), dtype=np.bool_)
        if metric.needs_masks:
            seen &= ~self.ignored
        if metric.region:
            seen &= np.isin(self.labels, metric.region)
        if metric.region_mask:
            seen &= self.region
        return seen


def value(metric: Metric, scene: Scene, found: IntArray) -> Fraction | None:
    """Compute a metric from its definition.

    Args:
        metric: any family but "pooled".
        scene: the image.
        found: [N], the predicted labels, clean or attacked.

    Returns:
        The exact value; None where the annotation leaves the metric undefined. A denominator that is 0 although the
        metric is defined counts as the worst value.

    Source: MATH.md sections 1, 3 and 4.
    """
    seen = scene.counted(metric)
    match metric.plan:
        case Sum():
            parts = [(w, value(part, scene, found)) for w, part in metric.parts]
            known = [w * v for w, v in parts if v is not None]
            return sum(known, Fraction(0)) if len(known) == len(parts) else None
        case Mean() | MeanRate():
            return _average(metric, scene, found)
        case Accuracy() if metric.rank > 1:
            raise ValueError("a metric of ranks is asked of the scene that `ranked` makes")
        case Rate() | Quotient():
            return ratio_value(metric, counts(scene.labels[seen], found[seen], metric.classes))
        case Weighted(of=Rate()):
            return metric.formula.ratio.at(*weighed(metric, scene, found)[0])
        case Accuracy() | Stability() | Weighted():
            stability = isinstance(unweighted(metric.plan), Stability)
            right = found == (scene.predicted if stability else scene.labels)
            weights = scene.weights if metric.weighted else np.ones(len(scene))
            total = _sum(weights[seen])
            return _sum(weights[seen & right]) / total if total else None
    raise ValueError(f"{metric.name} has no value for an image of pixels")


def counts(labels: IntArray, found: IntArray, inside: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Count TP, FP, FN, TN of a class set."""
    is_in, said_in = np.isin(labels, inside), np.isin(found, inside)
    cells = (is_in & said_in, ~is_in & said_in, is_in & ~said_in, ~is_in & ~said_in)
    tp, fp, fn, tn = (int(c.sum()) for c in cells)
    return tp, fp, fn, tn


def weighed(metric: Metric, scene: Scene, found: IntArray) -> tuple[tuple[int, int, int, int], Fraction]:
    """Add up the weights of TP, FP, FN, TN of a class set, as whole numbers of a unit, and give the unit."""
    seen = scene.counted(metric)
    is_in, said_in = np.isin(scene.labels, metric.classes), np.isin(found, metric.classes)
    cells = (is_in & said_in, ~is_in & said_in, is_in & ~said_in, ~is_in & ~said_in)
    sums = [_sum(scene.weights[seen & cell]) for cell in cells]
    parts = math.lcm(*(s.denominator for s in sums))
    tp, fp, fn, tn = (s.numerator * (parts // s.denominator) for s in sums)
    return (tp, fp, fn, tn), Fraction(1, parts)


def ratio_value(metric: Metric, cells: tuple[int, int, int, int]) -> Fraction | None:
    """Compute a one-class formula from counts; undefined by the annotation, or the worst value on a zero bar."""
    if not defined(metric, cells):
        return None
    found = metric.formula.ratio.at(*cells)
    return worst_of(metric) if found is None else found


def defined(metric: Metric, cells: tuple[int, int, int, int]) -> bool:
    """Tell whether the annotation defines a one-class metric."""
    needed = metric.formula.defined
    return sum(cells) > 0 if needed is None else needed.at(*cells) != 0


def worst_of(metric: Metric) -> Fraction:
    """The value a metric counts as once an attack has made it meaningless."""
    if metric.worst is None:
        raise ValueError(f"{metric.name} has no worst value")
    return metric.worst


def averaged(metric: Metric, scene: Scene) -> list[tuple[Fraction, Metric]]:
    """The parts an average over the annotated classes consists of, with their weights; empty when undefined."""
    seen, clean = scene.counted(metric), scene.predicted
    kept = []
    for part in metric.each(scene.classes):
        cells = counts(scene.labels[seen], clean[seen], part.classes)
        if defined(part, cells):
            kept.append((part, cells[0] + cells[2]))
    total = sum(n for _, n in kept)
    if isinstance(metric.plan, Mean | MeanRate) and metric.plan.frequency:
        return [(Fraction(n, total), part) for part, n in kept] if total else []
    return [(Fraction(1, len(kept)), part) for part, _ in kept]


def _average(metric: Metric, scene: Scene, found: IntArray) -> Fraction | None:
    values = [(w, value(part, scene, found)) for w, part in averaged(metric, scene)]
    if not values:
        return None
    return sum((w * v for w, v in values if v is not None), Fraction(0))


def _sum(values: FloatArray) -> Fraction:
    flat, times = np.unique(values, return_counts=True)
    return sum((Fraction(v) * n for v, n in zip(flat.tolist(), times.tolist(), strict=True)), Fraction(0))

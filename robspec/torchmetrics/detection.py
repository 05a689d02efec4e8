"""COCO's mean average precision of a detector within a budget, certified, as a torchmetric."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from robspec.bounds import detections
from robspec.bounds.scene import Scene
from robspec.ir.types import Metric, Program, Property, WorstCaseQuery
from robspec.kernels.detection import Objects, Threshold
from robspec.lower import compile_text
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2
from robspec.torchmetrics import _record, _tensors
from robspec.torchmetrics._certified import Answer, Certified, joined, listed
from robspec.torchmetrics._question import Number, exact, rounded_up
from robspec.torchmetrics.errors import BadBatch, BadMetricArgument, MixedStates

_MOST_BATCHES = 16
"""Records of batches are added up when there are so many."""
_SPEC = """language 1
model {{
  input   image [1, 8, 8] in [0, 1]
  output  scores [{classes}, 1], boxes [4, 1]
  classes {names}
}}
detector {{
  threshold sigmoid {threshold}
  nms       {nms}
  match     overlap 0.5
  boxes     {boxes}{limit}
}}
data seen {{
  images  "seen"
  objects coco "seen"
}}
property asked {{
  metric  mean_average_precision({overlaps})
  norm    {norm}
  budget  {eps}
  require worst_case >= 0
}}
"""


@dataclass(frozen=True, slots=True)
class DetectorQuestion:
    """A specification of a detector as text, and the probabilities at which the bound is read.

    Args:
        text: with one place for names of the classes.
        levels: probabilities, ascending, none below the detector's threshold.
        classes: how many.
        boxes: Lipschitz constant of a coordinate of a box; 0 where boxes are taken to stay.
    """

    text: str
    levels: tuple[Fraction, ...]
    classes: int
    boxes: Fraction
    aggregate: str = "mean"

    def program(self) -> Program:
        """Compile it.

        Raises:
            BadMetricArgument: E0711, the language refuses it; the message is the language's.
        """
        return _compiled(self.text)

    def compiled(self, channels: int) -> Property:
        """Give the property, whatever the number of channels."""
        del channels
        (prop,) = self.program().properties
        return prop

    def constant(self, lipschitz: Fraction, rounding: Fraction = Fraction(0)) -> Constant:
        """The constants of scores and boxes; of these no rounding is known."""
        del rounding
        norm = self.compiled(0).query.norm
        return replace(Constant(lipschitz, norm, L2, ConstantStatus.ASSUMED), boxes=self.boxes)

    def fingerprint(self, lipschitz: Fraction, ignore: int | None, rounding: Fraction = Fraction(0)) -> list[int]:
        """Tell it apart from every other question; see `Question.fingerprint`."""
        del rounding
        digits = [int(d, 16) for d in hashlib.sha256(repr((self, lipschitz, ignore)).encode()).hexdigest()]
        return [*digits, *(15 - d for d in digits)]


@lru_cache(maxsize=64)
def _compiled(text: str) -> Program:
    program, diagnostics = compile_text(text)
    if program is None:
        shown = next(d for d in diagnostics if d.is_error)
        mend = shown.mend or f"see `robspec explain {shown.code}`"
        raise BadMetricArgument("arguments", f"{shown.message} ({shown.code})", mend)
    return program


class CertifiedMeanAveragePrecision(Certified):
    """The certified mean average precision of a detector within a budget, each image in a ball of its own.

    The bound is that of `robspec check`, read at probabilities that are fixed in advance: so a state holds a few
    counts for each class, not the images, and the value may lie below the one `robspec check` finds.

    Args:
        eps: radius of each image's ball, in units of the image; a float counts as the decimal it prints as.
        lipschitz: constant of the model, image to all scores together, from `norm` to l2, rounded up.
        classes: how many classes the detector has.
        norm: the attack's norm: "l2", "l1", "linf", "l(1.5)".
        threshold: a location fires where the sigmoid of its score is at least this.
        nms: overlap above which a kept box suppresses another of its class; None for no suppression.
        overlaps: of a match, averaged over: "0.5 to 0.95", COCO's, or one number.
        boxes_lipschitz: constant of a coordinate of a box, in pixels, from `norm`; 0 takes boxes to stay, an
            assumption.
        limit: detections kept for each image, or None.
        levels: probabilities from the threshold on at which the bound is read; by default it and 0.1, 0.2, ... 0.9
            beyond it.
        options: of torchmetrics.Metric; `check_logits=False` takes whatever comes for logits.

    Raises:
        BadMetricArgument: E0711.

    Source: DETECTION.md D4.
    """

    def __init__(
        self,
        eps: Number,
        lipschitz: Number,
        classes: int,
        norm: str = "l2",
        *,
        threshold: Number = "0.05",
        nms: Number | None = "0.5",
        overlaps: Number = "0.5 to 0.95",
        boxes_lipschitz: Number = 0,
        limit: int | None = None,
        levels: Sequence[Number] | None = None,
        **options: Any,
    ) -> None:
        if type(classes) is not int or not 1 <= classes <= 10_000:
            raise BadMetricArgument("classes", f"{classes!r:.60} is no number of classes", "such as 80")
        least = exact("threshold", threshold)
        tenths = [Fraction(n, 10) for n in range(1, 10)]
        given = [t for t in tenths if t > least] if levels is None else [exact("levels", level) for level in levels]
        chosen = sorted({least, *given})
        if chosen[0] < least or chosen[-1] >= 1:
            what = "the bound is read at probabilities from the threshold up, below 1"
            raise BadMetricArgument("levels", what, "leave the others out")
        known = rounded_up(boxes_lipschitz) if boxes_lipschitz else Fraction(0)
        ranged = isinstance(overlaps, str) and " to " in overlaps
        averaged = overlaps if ranged else _written(exact("overlaps", overlaps))
        text = _SPEC.format(
            classes=classes,
            names=", ".join(f"c{k}" for k in range(classes)),
            threshold=_written(least),
            nms="none" if nms is None else f"greedy {_written(exact('nms', nms))}",
            boxes="proved" if known else "frozen",
            limit="" if limit is None else f"\n  limit     {limit!r:.20}",
            overlaps=averaged,
            norm=norm,
            eps=_written(exact("eps", eps)),
        )
        if options.get("arithmetic", "exact") != "exact":
            what = "of a detector's scores and boxes `robspec check --arithmetic real` alone knows the rounding"
            raise BadMetricArgument("arithmetic", what, "leave it out, and check the model")
        question = DetectorQuestion(text, tuple(chosen), classes, known)
        super().__init__(question, lipschitz, None, "cpu", **options)  # type: ignore[arg-type]
        self._asked = question

    def update(self, preds: Any, target: Any = None) -> None:
        """Certify a batch.

        Args:
            preds: for each image a mapping: `scores`, logits [K, N]; `boxes`, [N, 4], x1, y1, x2, y2 in pixels.
            target: for each image a mapping: `boxes`, [M, 4]; `labels`, integers [M]; `iscrowd`, [M], may be missing.

        Raises:
            BadBatch: E0712.
        """
        scenes = _scenes(preds, target, self._asked.classes)
        totals = [0] * len(self._empty())
        for scene in scenes:
            for n, count in enumerate(self._counts(scene)):
                totals[n] += count
        every = torch.cat([p["scores"].detach().float().cpu().reshape(-1) for p in preds])
        kind = _tensors.kind_of(every.reshape(1, 1, 1, -1), preds[0]["scores"].dtype)
        self._same_model(self._asked.classes, listed(self.values))
        self.values = listed(self.values)
        batch = _record.Batch(self._asked.classes, kind, tuple(map(Fraction, totals)))
        self.values.append(_record.encode(batch, self.dtype).to(self.device))
        if len(self.values) > _MOST_BATCHES:
            batches = self._read(_record.decode, joined(self.values))
            together = _record.Batch(
                self._asked.classes, _tensors.joined(b.kind for b in batches), self._sum(batches)
            )
            self.values[:] = [_record.encode(together, self.dtype).to(self.device)]

    def exact(self) -> Answer:
        """Give the bound over the images seen so far as an exact rational; undefined without any object."""
        name = type(self).__name__
        if self.asked.tolist() != self._asked.fingerprint(self.lipschitz, None):
            raise MixedStates(name, "states of different questions were merged", "use equal arguments")
        batches = self._read(_record.decode, joined(self.values))
        if self.check_logits and batches:
            _tensors.refuse_probabilities((b.kind for b in batches), 1)
        images, *counts = map(int, self._sum(batches))
        numbers = iter(counts)
        values = []
        metric = self._metric
        for _ in range(self._asked.classes):
            total = next(numbers)
            for _ in metric.arguments:
                steps = [(next(numbers), next(numbers)) for _ in self._asked.levels]
                if total:
                    values.append(detections.average(steps, total))
        if not values:
            return Answer(None, 0, images)
        return Answer(sum(values, Fraction(0)) / len(values) * detections.ROUNDING, images, 0)

    @property
    def _metric(self) -> Metric:
        query = self._probe.query
        if not isinstance(query, WorstCaseQuery):
            raise ValueError("no worst case")
        return query.metric

    def _empty(self) -> tuple[Fraction, ...]:
        each = 1 + 2 * len(self._metric.arguments) * len(self._asked.levels)
        return (Fraction(0),) * (1 + self._asked.classes * each)

    def _sum(self, batches: Sequence[_record.Batch]) -> tuple[Fraction, ...]:
        found = list(self._empty())
        for batch in batches:
            if len(batch.values) != len(found):
                raise MixedStates(
                    type(self).__name__, "states of different questions were merged", "use equal arguments"
                )
            found = [a + Fraction(b or 0) for a, b in zip(found, batch.values, strict=True)]
        return tuple(found)

    def _counts(self, scene: Scene) -> Iterator[int]:
        """1, and for each class its objects, and for each overlap and level the certain and the wrong detections."""
        detector = self._asked.program().model.detector
        query = self._probe.query
        if not isinstance(query, WorstCaseQuery) or detector is None:
            raise ValueError("no detector")
        (eps,) = query.budgets
        constant = self._asked.constant(self.lipschitz)
        at = [Threshold.of_probability(level) for level in self._asked.levels]
        yield 1
        for k in range(self._asked.classes):
            yield len(scene.objects.real(k))
            for o in query.metric.arguments:
                for level in at:
                    yield from detections.step(scene, detector, k, o, level, eps, constant)


def _written(value: Fraction) -> str:
    return f"({value.numerator} / {value.denominator})" if value.denominator > 1 else str(value.numerator)


def _scenes(preds: Any, target: Any, classes: int) -> list[Scene]:
    if not isinstance(preds, Sequence) or not isinstance(target, Sequence) or len(preds) != len(target) or not preds:
        what = "predictions and annotation are no lists of one mapping for each image"
        raise BadBatch("preds", what, "pass as many of each, at least one")
    return [_scene(p, t, classes) for p, t in zip(preds, target, strict=True)]


def _scene(given: Any, annotated: Any, classes: int) -> Scene:
    scores = _array("preds", given, "scores", (classes, None))
    boxes = _array("preds", given, "boxes", (scores.shape[1], 4))
    objects = _array("target", annotated, "boxes", (None, 4))
    labels = _array("target", annotated, "labels", (len(objects),))
    crowd = np.zeros(len(objects))
    if "iscrowd" in annotated:
        crowd = _array("target", annotated, "iscrowd", (len(objects),))
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes and (labels == labels.round()).all()):
        raise BadBatch("target", f"labels that are not whole numbers below {classes}", "count classes from 0")
    none = np.zeros(len(objects), dtype=np.bool_)
    return Scene(scores, boxes, None, Objects(objects, labels.astype(np.int64), crowd != 0, none))


def _array(name: str, given: Any, key: str, shape: tuple[int | None, ...]) -> Any:
    found = given.get(key) if isinstance(given, Mapping) else None
    if not isinstance(found, torch.Tensor) or found.is_complex():
        raise BadBatch(name, f"no tensor `{key}`", "pass a mapping of tensors for each image")
    fits = found.dim() == len(shape) and all(w in (None, n) for w, n in zip(shape, found.shape, strict=True))
    if not fits:
        if found.numel() == 0 and shape[0] in (None, 0):
            return np.zeros([w or 0 for w in shape])
        wanted = [("N" if w is None else w) for w in shape]
        raise BadBatch(name, f"`{key}` of shape {list(found.shape)}, not {wanted}", "see its documentation")
    values = found.detach().cpu().double().numpy()
    if not math.isfinite(float(np.abs(values).max(initial=0.0))):
        raise BadBatch(name, f"`{key}` holds a NaN or an infinity", "leave such images out")
    return np.ascontiguousarray(values)

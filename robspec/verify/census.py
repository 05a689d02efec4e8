"""Counts what the verdicts rest on: annotated pixels by class, pixels left out, images that occur twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from robspec import arrays
from robspec.arrays import Array
from robspec.bounds.context import LEFT_OUT, Context
from robspec.data.content import digest
from robspec.ir.types import Metric, Program
from robspec.verify.errors import RepeatedImages
from robspec.verify.evaluate import metrics_of

Key: TypeAlias = tuple[tuple[int, ...], bool, bool, bool]
"""Which pixels a metric looks at: classes of `in [...]`, `in region`, weighted, and compared with an annotation."""


@dataclass(slots=True)
class View:
    """What metrics that look at the same pixels see of the data set.

    Args:
        metric: any one of them.
        properties: the properties that ask for them, in order.
        pixels: how many pixels there are before the region, or weights of 0, leave some out.
        counted: how many are left.
        by_class: of these, how many are annotated with each class; empty for a metric without annotation.
        empty: images of which nothing is left.
    """

    metric: Metric
    properties: list[str] = field(default_factory=list)
    pixels: int = 0
    counted: int = 0
    by_class: list[int] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


class Census:
    """Fed with every batch of a check.

    Args:
        program: the compiled specification.

    Attributes:
        images: how many images were seen.
        pixels: how many annotated or ignored pixels.
        ignored: how many of them hold the ignore label.
        all_ignored: images of which every pixel is ignored.
        by_class: pixels annotated with each class.
        predicted: the classes predicted anywhere on a clean image.
        same: names of the images by content.
        views: what each kind of metric sees.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self.images = self.pixels = self.ignored = 0
        self.all_ignored: list[str] = []
        self.by_class = [0] * len(program.model.classes)
        self.predicted: set[int] = set()
        self.same: dict[str, list[str]] = {}
        self.views: dict[Key, View] = {}
        for prop in program.properties:
            for metric in metrics_of(prop.query):
                for part in leaves(metric):
                    if not (part.region or part.region_mask or part.weighted):
                        continue
                    view = self.views.setdefault(_key(part), View(part))
                    if prop.name not in view.properties:
                        view.properties.append(prop.name)
        self._confident = [
            p.name for p in program.properties if any(r.confidence is not None for r in p.requirements)
        ]

    def meet(self, names: Sequence[str], images: Array) -> None:
        """Compare the images of a batch with all that came before.

        Args:
            names: of the images.
            images: float32 [B, C, H, W].

        Raises:
            RepeatedImages: E0407, an image occurs twice and a property claims something `with confidence`.
        """
        for name, image in zip(names, images, strict=True):
            others = self.same.setdefault(digest(image), [])
            others.append(name)
            if len(others) > 1 and self._confident:
                self._refuse(others)

    def add(self, names: Sequence[str], context: Context) -> None:
        """Count a batch that is finished.

        Args:
            names: of the images.
            context: their logits and annotations.
        """
        self.images += len(names)
        if self._program.model.detector is None:
            if len(self.predicted) < len(self.by_class):
                self.predicted.update(context.predicted())
        else:
            self._count_objects(context)
        if context.labels is not None:
            self._annotated(names, context.labels)
        for view in self.views.values():
            self._look(view, names, context)

    def _count_objects(self, context: Context) -> None:
        """Count the objects that have to be found, class by class."""
        for scene in context.detections()[1]:
            for k in range(len(self.by_class)):
                self.by_class[k] += len(scene.objects.real(k))
            self.pixels += len(scene.objects.boxes)

    def _annotated(self, names: Sequence[str], labels: Array) -> None:
        ignore = self._program.data.ignore
        found = labels = arrays.host(labels)
        self.pixels += labels.size
        if ignore is not None and (labels == ignore).any():
            left_out = labels == ignore
            self.ignored += int(left_out.sum())
            whole = left_out.reshape(len(names), -1).all(axis=1).tolist()
            self.all_ignored += [n for n, all_out in zip(names, whole, strict=True) if all_out]
            found = labels[~left_out]
        _add(self.by_class, found)

    def _look(self, view: View, names: Sequence[str], context: Context) -> None:
        annotated = view.metric.needs_masks
        whole = context.seen(replace(view.metric, region=(), region_mask=False), annotated=annotated)
        seen = context.seen(view.metric, annotated=annotated)
        every = np.ones(context.shape, dtype=np.bool_)
        before = every if whole is None else arrays.host(whole) != LEFT_OUT
        kept = every if seen is None else arrays.host(seen) != LEFT_OUT
        if view.metric.weighted and context.weights is not None:
            kept = kept & (arrays.host(context.weights) > 0)
        view.pixels += int(before.sum())
        view.counted += int(kept.sum())
        left = np.logical_or.reduce(kept.reshape(len(names), -1), axis=1)
        view.empty += [n for n, some in zip(names, left.tolist(), strict=True) if not some]
        if annotated and seen is not None:
            view.by_class = view.by_class or [0] * len(self.by_class)
            _add(view.by_class, arrays.host(seen)[kept])

    def _refuse(self, names: Sequence[str]) -> None:
        raise RepeatedImages(
            names[1],
            f"it holds the same pixels as {names[0]}, and property {self._confident[0]} claims something of a "
            "population, `with confidence`: images counted twice are no independent draws",
            "remove the copy, narrow the image glob, or leave `with confidence` out",
        )


def leaves(metric: Metric) -> Iterator[Metric]:
    """The metrics over counts that a metric is made of: itself, or the parts of a user's average."""
    if not metric.parts:
        yield metric
    for _, part in metric.parts:
        yield from leaves(part)


def _key(metric: Metric) -> Key:
    return (metric.region, metric.region_mask, metric.weighted, metric.needs_masks)


def _add(counts: list[int], labels: npt.NDArray[np.int64]) -> None:
    for k, n in enumerate(np.bincount(labels.ravel(), minlength=len(counts)).tolist()):
        counts[k] += n

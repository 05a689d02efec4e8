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


@dataclass(frozen=True, slots=True)
class Counted:
    """What there is to count on one batch.

    Args:
        predicted: the classes predicted anywhere; empty where nobody asked, and of a detector.
        by_class: pixels, or objects, annotated with each class.
        pixels: annotated or ignored ones; of a detector all objects.
        ignored: how many of them hold the ignore label.
        all_ignored: places of the images of which every pixel is ignored.
        views: of each kind of metric, the pixels before its region, those left, places of the images of which none
            is left, and those left by class.
    """

    predicted: tuple[int, ...]
    by_class: tuple[int, ...]
    pixels: int = 0
    ignored: int = 0
    all_ignored: tuple[int, ...] = ()
    views: tuple[tuple[int, int, tuple[int, ...], tuple[int, ...]], ...] = ()


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
        same: by content the name of the image, or a list of the names of several.
        views: what each kind of metric sees.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self.images = self.pixels = self.ignored = 0
        self.all_ignored: list[str] = []
        self.by_class = [0] * len(program.model.classes)
        self.predicted: set[int] = set()
        self.same: dict[bytes, str | list[str]] = {}
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
        """Compare the images of a batch with all that came before; see `hear`.

        Args:
            names: of the images.
            images: float32 [B, C, H, W].
        """
        self.hear(names, [digest(image) for image in images])

    def hear(self, names: Sequence[str], contents: Sequence[str]) -> None:
        """Compare images that were read elsewhere with all that came before.

        Args:
            names: of the images.
            contents: `robspec.data.content.digest` of each.

        Raises:
            RepeatedImages: E0407, an image occurs twice and a property claims something `with confidence`.
        """
        for name, content in zip(names, contents, strict=True):
            key = bytes.fromhex(content)
            before = self.same.get(key)
            if before is None:
                # Of a million images: a name alone takes a third of a list with it.
                self.same[key] = name
                continue
            others = [before] if isinstance(before, str) else before
            others.append(name)
            self.same[key] = others
            if self._confident:
                self._refuse(others)

    def add(self, names: Sequence[str], context: Context) -> None:
        """Count a batch that is finished.

        Args:
            names: of the images.
            context: their logits and annotations.
        """
        self.take(names, self.read(context, predicted=self.wanting))

    @property
    def wanting(self) -> bool:
        """Whether some class has not been predicted yet."""
        return len(self.predicted) < len(self.by_class)

    def read(self, context: Context, *, predicted: bool) -> Counted:
        """Count a batch; nothing here changes.

        Args:
            context: its logits and annotations.
            predicted: whether anything is to be said of the classes predicted.
        """
        if self._program.model.detector is not None:
            objects = [scene.objects for scene in context.detections()[1]]
            real = tuple(sum(len(o.real(k)) for o in objects) for k in range(len(self.by_class)))
            counted = Counted((), real, sum(len(o.boxes) for o in objects))
        else:
            counted = Counted(tuple(context.predicted()) if predicted else (), (0,) * len(self.by_class))
        if context.labels is not None:
            counted = self._annotated(counted, context.labels)
        return replace(counted, views=tuple(self._look(view, context) for view in self.views.values()))

    def take(self, names: Sequence[str], counted: Counted) -> None:
        """Add what was counted on a batch, here or elsewhere.

        Args:
            names: of its images.
            counted: what `read` gave.
        """
        self.images += len(names)
        self.predicted.update(counted.predicted)
        self.by_class = _sums(self.by_class, counted.by_class)
        self.pixels += counted.pixels
        self.ignored += counted.ignored
        self.all_ignored += [names[i] for i in counted.all_ignored]
        for view, (before, left, empty, by_class) in zip(self.views.values(), counted.views, strict=True):
            view.pixels += before
            view.counted += left
            view.empty += [names[i] for i in empty]
            if by_class:
                view.by_class = _sums(view.by_class or [0] * len(by_class), by_class)

    def _annotated(self, counted: Counted, given: Array) -> Counted:
        ignore, labels = self._program.data.ignore, arrays.host(given)
        found, ignored, whole = labels, 0, tuple[int, ...]()
        if ignore is not None and (labels == ignore).any():
            left_out = labels == ignore
            ignored = int(left_out.sum())
            whole = _places(left_out.reshape(len(labels), -1).all(axis=1))
            found = labels[~left_out]
        return replace(
            counted,
            by_class=tuple(_sums(counted.by_class, self._by_class(found))),
            pixels=counted.pixels + labels.size,
            ignored=ignored,
            all_ignored=whole,
        )

    def _look(self, view: View, context: Context) -> tuple[int, int, tuple[int, ...], tuple[int, ...]]:
        annotated = view.metric.needs_masks
        whole = context.seen(replace(view.metric, region=(), region_mask=False), annotated=annotated)
        seen = context.seen(view.metric, annotated=annotated)
        every = np.ones(context.shape, dtype=np.bool_)
        before = every if whole is None else arrays.host(whole) != LEFT_OUT
        kept = every if seen is None else arrays.host(seen) != LEFT_OUT
        if view.metric.weighted and context.weights is not None:
            kept = kept & (arrays.host(context.weights) > 0)
        by_class = self._by_class(arrays.host(seen)[kept]) if annotated and seen is not None else ()
        empty = _places(~np.logical_or.reduce(kept.reshape(len(kept), -1), axis=1))
        return int(before.sum()), int(kept.sum()), empty, tuple(by_class)

    def _by_class(self, labels: npt.NDArray[np.int64]) -> Sequence[int]:
        return [int(n) for n in np.bincount(labels.ravel(), minlength=len(self.by_class)).tolist()]

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


def _sums(counts: Sequence[int], more: Sequence[int]) -> list[int]:
    return [n + m for n, m in zip(counts, more, strict=True)]


def _places(flags: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(i for i, flag in enumerate(flags.tolist()) if flag)

"""One batch of logits with its annotations, read at most once for each way of looking at it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from robspec import arrays
from robspec.arrays import Array, library
from robspec.bounds.scene import Scene
from robspec.ir.types import Detector, Metric
from robspec.kernels import coarse
from robspec.kernels.coarse import ClassBatch, CoarseBatch, CoarseClass, CoarsePrepared
from robspec.kernels.coarse.grid import Grid
from robspec.kernels.knapsack import Backend, FloatArray, Items, LogitsBatch, OneClass, Prepared

T = TypeVar("T")
LARGEST_LOGIT = 2.0**500
"""Only float64 logits can be larger; the square of a margin would overflow."""
LEFT_OUT = -1
"""Label of the pixels a metric does not see: ignored, or outside its region."""


@dataclass(frozen=True, eq=False)
class Coarse:
    """The logits of a batch before a fixed up-sampling.

    Args:
        logits: [B, K, h, w].
        grid: how full-size logits are made of them.
        enlarge: computes these, [B, K, H, W].
    """

    logits: Array
    grid: Grid
    enlarge: Callable[[Array], Array]


class Context:
    """A batch of images, shared by every metric asked of it.

    Args:
        backend: computes the knapsacks.
        logits: [B, K, H, W]; or before a fixed up-sampling, and then full-size ones are made once they are asked for.
        labels: int64 [B, H, W], or None when no metric needs an annotation.
        ignore: the label left out, or None.
        region: bool [B, H, W] from region files, or None.
        weights: float64 [B, H, W] from weight files, non-negative, or None.
        scenes: of a detector, what is done with its scores, and each image with its boxes and objects; or None.
        water: False to price entering a class by the pair bound even where water filling is exact, for comparison.
    """

    def __init__(
        self,
        backend: Backend,
        logits: Array | Coarse,
        labels: Array | None,
        ignore: int | None,
        region: Array | None = None,
        weights: Array | None = None,
        *,
        scenes: tuple[Detector, tuple[Scene, ...]] | None = None,
        water: bool = True,
    ) -> None:
        self.backend = backend
        self.coarse = logits if isinstance(logits, Coarse) else None
        self.by_cells = self.coarse is not None
        self._logits = logits if not isinstance(logits, Coarse) else None
        self.labels, self.region, self.weights = (self._beside(part) for part in (labels, region, weights))
        self._scenes = scenes
        self._ignore = ignore
        self._water = water
        self._seen: dict[tuple[tuple[int, ...], bool, bool], Array | None] = {}
        self._prepared: dict[object, Prepared] = {}
        self._coarse: dict[object, CoarsePrepared] = {}
        self._coarse_sets: dict[object, CoarseClass] = {}
        self._one_class: dict[object, OneClass] = {}
        self._ranked: list[object] = []
        self._counted: dict[Hashable, Any] = {}

    @property
    def logits(self) -> Array:
        """Full-size logits, [B, K, H, W]."""
        if self._logits is None:
            self._logits = self._few.enlarge(self._few.logits)
        return self._logits

    @property
    def _few(self) -> Coarse:
        if self.coarse is None:
            raise ValueError("there are no coarse logits")
        return self.coarse

    @property
    def given(self) -> Array:
        """The logits that the network gave, before a fixed up-sampling if there is one."""
        return self.logits if self.coarse is None else self.coarse.logits

    @property
    def shape(self) -> tuple[int, int, int]:
        """Images, height and width in pixels."""
        sides = tuple(self.logits.shape[2:]) if self.coarse is None else self.coarse.grid.shape
        return (len(self), sides[0], sides[1])

    def __len__(self) -> int:
        return len(self.given)

    def _beside(self, values: Array | None) -> Array | None:
        """What lies beside the logits, in tensors if these are in tensors, and on their device."""
        if values is None or isinstance(values, np.ndarray) == isinstance(self.given, np.ndarray):
            near = values is None or values.device == self.given.device
            return values if near or values is None else arrays.tensor(values).to(self.given.device)
        return arrays.like(arrays.host(values), self.given)

    @property
    def classes(self) -> int:
        """Number of classes, 2 for a single logit."""
        return max(int(self.given.shape[1]), 2)

    def detections(self) -> tuple[Detector, tuple[Scene, ...]]:
        """Give each image as a detector sees it."""
        if self._scenes is None:
            raise ValueError("the metric needs a detector")
        return self._scenes

    def counted(self, key: Hashable, count: Callable[[], T]) -> T:
        """Give what was counted on a detector's image for another metric, or count it.

        Args:
            key: everything that the answer depends on beside the batch.
            count: does it.
        """
        if key not in self._counted:
            self._counted[key] = count()
        found: T = self._counted[key]
        return found

    def by_pairs(self) -> Context:
        """Give the same batch with every item priced by the pair bound."""
        return self._like(self._source, water=False)

    def of(self, logits: Array) -> Context:
        """Give the same batch with other logits of the same shape."""
        return self._like(logits, water=self._water)

    @property
    def _source(self) -> Array | Coarse:
        return self.logits if self.coarse is None else self.coarse

    def _like(self, logits: Array | Coarse, *, water: bool) -> Context:
        rest = (self.labels, self._ignore, self.region, self.weights)
        return Context(self.backend, logits, *rest, scenes=self._scenes, water=water)

    def image(self, at: int) -> Context:
        """Give one image of a batch of coarse logits, as a batch of its own."""
        few = self._few
        rest = (None if part is None else part[at : at + 1] for part in (self.labels, self.region, self.weights))
        labels, region, weights = rest
        alone = Coarse(few.logits[at : at + 1], few.grid, few.enlarge)
        return Context(self.backend, alone, labels, self._ignore, region, weights, water=self._water)

    def full_size(self) -> Context:
        """Give the same batch without a look at cells, for comparison; what was read is shared."""
        found = self._like(self._source, water=self._water)
        found.by_cells = False
        found._logits = self._logits
        found._seen, found._prepared, found._one_class, found._ranked, found._coarse = (
            self._seen,
            self._prepared,
            self._one_class,
            self._ranked,
            self._coarse,
        )
        return found

    def seen(self, metric: Metric, *, annotated: bool = True) -> Array | None:
        """Give the labels as a metric sees them.

        Args:
            metric: its region decides what is left out.
            annotated: False for a metric that compares with the clean prediction: only the region counts.

        Returns:
            int64 [B, H, W], LEFT_OUT where the metric does not look, the very labels where it looks everywhere and
            they are needed; None where they are not. Nobody may write to them.
        """
        key = (metric.region, metric.region_mask, annotated)
        if key not in self._seen:
            self._seen[key] = self._masked(metric, annotated=annotated)
        return self._seen[key]

    def _told(self, metric: Metric, items: Items) -> tuple[Array | None, int | None]:
        """Labels and which of them a backend leaves out: where that is `ignore` alone, nothing is written anew."""
        annotated = items is not Items.PREDICTED
        if annotated and self.labels is not None and not metric.region and not metric.region_mask:
            return self.labels, LEFT_OUT if self._ignore is None else self._ignore
        labels = self.seen(metric, annotated=annotated)
        return labels, None if labels is None else LEFT_OUT

    def _masked(self, metric: Metric, *, annotated: bool) -> Array | None:
        if not annotated and not metric.region and not metric.region_mask:
            return None
        labels = self.labels
        if labels is None:
            if annotated or metric.region:
                raise ValueError("the metric needs labels")
            labels = arrays.like(np.zeros(self.shape, dtype=np.int64), self.given)
        xp = library(labels)
        keep = xp.ones_like(labels, dtype=xp.bool)
        if self._ignore is not None and (annotated or metric.region):
            keep &= labels != self._ignore
        if metric.region:
            keep &= xp.isin(labels, xp.asarray(metric.region, device=labels.device))
        if metric.region_mask:
            if self.region is None:
                raise ValueError("the metric needs region files")
            keep &= self.region
        if not annotated:
            # An ignored pixel counts here, also where masks say so of it by that very number.
            labels = xp.where(labels == LEFT_OUT, 0, labels)
        if bool(keep.all()):
            return labels
        found: Array = xp.where(keep, labels, LEFT_OUT)
        return found

    def prepared(self, metric: Metric, items: Items, *, squared: bool = True) -> Prepared:
        """Read the batch for a metric over all classes.

        Args:
            metric: it decides what is left out, and among how many of the largest logits a class must be.
            items: what can be flipped.
            squared: whether a budget is in squared l2 distance.
        """
        rank = metric.rank
        water = squared and self._water and rank > 1
        key = (metric.region, metric.region_mask, items, rank, water)
        if key not in self._prepared:
            (labels, ignore), logits = self._told(metric, items), self.logits
            if rank > 1 and labels is not None:
                from robspec.bounds import _ranks as ranks  # which needs torch

                # What they round was looked at on the CPU.
                logits, seen = arrays.tensor(logits).cpu(), arrays.tensor(labels).cpu()
                kept = seen != ignore
                logits = ranks.reduced(logits, library(seen).where(kept, seen, LEFT_OUT), rank, LEFT_OUT, water=water)
                labels, ignore = arrays.tensor(library(seen).where(kept, 0, LEFT_OUT)), LEFT_OUT
            self._prepared[key] = self.backend.prepare(LogitsBatch(logits, labels, items, ignore))
        return self._prepared[key]

    def cells(self, metric: Metric, items: Items) -> CoarsePrepared:
        """Read coarse logits for a metric over all classes, cell by cell of the up-sampling.

        Args:
            metric: it decides what is left out; of the largest logit alone.
            items: what can be flipped.
        """
        key = (metric.region, metric.region_mask, items)
        if key not in self._coarse:
            labels = self.seen(metric, annotated=items is Items.CORRECT)
            ignore = None if labels is None else LEFT_OUT
            batch = CoarseBatch(self._few.logits, self._few.grid, labels, items, ignore)
            self._coarse[key] = coarse.prepare(self.backend.name, batch)
        return self._coarse[key]

    def cells_of(self, metric: Metric, inside: int) -> tuple[CoarsePrepared, list[int]]:
        """Read coarse logits for the pixels annotated with one class, which are right or missed.

        Args:
            metric: it decides what is left out.
            inside: the class.

        Returns:
            The batch, whose items are the pixels that are found, of the valid ones annotated with the class; and of
            each image how many are annotated with another.
        """
        labels = self.seen(metric)
        if labels is None:
            raise ValueError("the metric needs labels")
        others = (labels != inside) & (labels >= 0) & (labels < self.classes)
        key = (metric.region, metric.region_mask, inside)
        if key not in self._coarse:
            own = library(labels).where(labels == inside, labels, LEFT_OUT)
            batch = CoarseBatch(self._few.logits, self._few.grid, own, Items.CORRECT, LEFT_OUT)
            self._coarse[key] = coarse.prepare(self.backend.name, batch)
        return self._coarse[key], [int(n) for n in others.reshape(len(others), -1).sum(1)]

    def every(self, metric: Metric, inside: int | None = None) -> CoarsePrepared:
        """Read coarse logits for all annotated pixels, right or wrong.

        Args:
            metric: it decides what is left out.
            inside: a class, for the pixels annotated with it; None for any.
        """
        labels = self.seen(metric)
        if labels is None:
            raise ValueError("the metric needs labels")
        key = (metric.region, metric.region_mask, inside, "every")
        if key not in self._coarse:
            asked = labels if inside is None else library(labels).where(labels == inside, labels, LEFT_OUT)
            batch = CoarseBatch(self._few.logits, self._few.grid, asked, Items.PREDICTED, LEFT_OUT)
            self._coarse[key] = coarse.prepare(self.backend.name, batch)
        return self._coarse[key]

    def cells_of_set(self, metric: Metric, inside: tuple[int, ...]) -> CoarseClass:
        """Read coarse logits for one class set, both kinds of flips.

        Args:
            metric: it decides what is left out.
            inside: the classes of the set.
        """
        labels = self.seen(metric)
        if labels is None:
            raise ValueError("the metric needs labels")
        key = (metric.region, metric.region_mask, inside)
        if key not in self._coarse_sets:
            batch = ClassBatch(self._few.logits, self._few.grid, labels, inside)
            self._coarse_sets[key] = coarse.prepare_class(self.backend.name, batch)
        return self._coarse_sets[key]

    def predicted(self) -> list[int]:
        """List the classes that are predicted anywhere; the second of a single logit where it is positive."""
        if self._coarse and self._logits is None:
            known = next(iter(self._coarse.values())).predicted
            return [int(k) for k in np.flatnonzero(known.any(axis=0))]
        logits = self.logits
        if logits.shape[1] == 1:
            found = logits[:, 0] > 0
        else:
            found = logits.argmax(1) if isinstance(logits, np.ndarray) else logits.max(1).indices
        return [int(k) for k in np.flatnonzero(np.bincount(arrays.host(found).ravel()))]

    def one_class(
        self, metric: Metric, inside: tuple[int, ...], *, water: bool, share: float = 1.0, whole: bool = False
    ) -> OneClass:
        """Read the batch for one class set; see `LogitsBatch` for the arguments."""
        water = water and self._water
        key = (metric.region, metric.region_mask, inside, water, share, whole)
        if key not in self._one_class:
            labels, ignore = self._told(metric, Items.CLASS)
            batch = LogitsBatch(
                self.logits,
                labels,
                Items.CLASS,
                ignore,
                inside=inside,
                water=water,
                share=share,
                whole_when_wrong=whole,
                ranked=self._ranks(),
            )
            self._one_class[key] = self.backend.prepare_class(batch)
        return self._one_class[key]

    def _ranks(self) -> object:
        if not self._ranked:
            self._ranked.append(self.backend.rank(self.logits))
        return self._ranked[0]

    def finite(self) -> Sequence[bool]:
        """Tell for each image whether its logits are all finite, and small enough for squares of doubles."""
        # The least and the largest of numbers with a NaN among them are NaN. The comparison is made in double: in a
        # shorter type the limit itself would be infinite.
        largest = LARGEST_LOGIT if self.coarse is None else LARGEST_LOGIT / self.coarse.grid.enlarged
        extremes = [(float(image.min()), float(image.max())) for image in self.given]
        return [low >= -largest and high <= largest for low, high in extremes]


def doubles(values: Array) -> FloatArray:
    """As float64 in numpy."""
    return arrays.doubles(values)

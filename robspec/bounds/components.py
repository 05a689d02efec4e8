"""Recall of objects in segmentation: connected parts of the mask, found or lost as a whole (DETECTION.md D6).

An object counts as found while a share of its pixels, at least one, is predicted as its class. To lose it, an attack
has to lose as many of its right pixels as it has to spare, and one more: the cheapest of them. Objects share no pixel
and all pixels share one budget, so that the number of lost objects is exact over the logits within reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from robspec import arrays
from robspec.bounds import search
from robspec.bounds.context import Context, doubles
from robspec.bounds.search import Found
from robspec.ir.types import Metric
from robspec.kernels import components as kernel
from robspec.kernels.knapsack import FloatArray
from robspec.kernels.knapsack.budget import Budget
from robspec.kernels.weighted import beside
from robspec.semantics.constant import Constant


@dataclass(frozen=True, slots=True)
class _Image:
    """One image.

    Args:
        objects: how many there are.
        found: of those that are found, the margins of what they lose first.
    """

    objects: int
    found: tuple[FloatArray, ...]


def open_bound(metric: Metric, context: Context, constant: Constant) -> Bound:
    """Open recall of objects on a batch."""
    return Bound(metric, context, constant)


class Bound:
    """Recall of objects on a batch.

    Args:
        metric: its argument is the share of an object's pixels that must be right.
        context: the batch.
        constant: Lipschitz constant for the attack's norm.
    """

    def __init__(self, metric: Metric, context: Context, constant: Constant) -> None:
        self.metric, self.constant = metric, constant
        self.pixels = context.logits.shape[2] * context.logits.shape[3]
        self.single = context.logits.shape[1] == 1
        self.images = [self._read(context, i) for i in range(len(context))]

    def _read(self, context: Context, i: int) -> _Image | None:
        labels = context.seen(self.metric)
        if labels is None:
            raise ValueError("the metric needs labels")
        (share,) = self.metric.arguments
        label = arrays.host(labels[i])
        number = kernel.labelled(np.isin(label, self.metric.classes)).reshape(-1)
        _, ahead, margins = beside(context.backend.name).sides(doubles(context.logits[i]), self.metric.classes)
        count = int(number.max(initial=0))
        sizes = np.bincount(number, minlength=count + 1).tolist()
        right = np.flatnonzero(ahead & (number != kernel.BESIDE))
        right = right[np.argsort(number[right], kind="stable")]
        ends = np.searchsorted(number[right], np.arange(1, count + 2)).tolist()
        found = []
        for m in range(1, count + 1):
            mine = margins[right[ends[m - 1] : ends[m]]]
            spare = kernel.spare(mine, kernel.needed(share, sizes[m]))
            if len(spare):
                found.append(spare)
        return _Image(count, tuple(found)) if count else None

    def clean(self) -> list[Fraction | None]:
        """Compute the clean values; None where no object is annotated."""
        return [None if i is None else Fraction(len(i.found), i.objects) for i in self.images]

    def worst_case(self, budgets: Sequence[Fraction]) -> list[tuple[Fraction | None, ...]]:
        """Bound each image's value within each budget (Q1)."""
        return [tuple(None if i is None else self._worst(i, eps) for eps in budgets) for i in self.images]

    def radius(self, gammas: Sequence[Sequence[Fraction | None]], *, strict: bool) -> list[tuple[Found, ...]]:
        """Bound each image's radius for each of its thresholds from below (Q2)."""
        return search.radii(
            self.metric,
            self.constant,
            self.images,
            gammas,
            clean=lambda image: Fraction(len(image.found), image.objects),
            hopeless=lambda _: Fraction(0),
            worst=self._worst,
            strict=strict,
        )

    def _worst(self, image: _Image, eps: Fraction) -> Fraction:
        q = self.constant.output_norm.p
        budget = Budget.of(eps, self.constant.value, q, self.pixels, single=self.single)
        return Fraction(len(image.found) - kernel.lost(image.found, budget), image.objects)

"""One-class ratios phi(TP - a, FP + b, FN + a, TN - b): IoU, Dice, precision and users' formulas (MATH.md 3.C)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

from robspec.bounds import cell_ratios, cells, search
from robspec.bounds.confusion import Confusion
from robspec.bounds.context import Context
from robspec.bounds.search import Found
from robspec.ir.types import Metric
from robspec.semantics.classify import Flip
from robspec.semantics.constant import Constant


def open_bound(
    metric: Metric, context: Context, constant: Constant, without: Flip | None = None
) -> Bound | cell_ratios.Bound:
    """Open a one-class ratio on a batch, by cells too where coarse logits are known; see `Bound` for `without`."""
    bound = Bound(metric, context, constant, without)
    if cells.looked_at(context, constant).coarse is None or not cell_ratios.has_cells(metric):
        return bound
    return cell_ratios.Bound(metric, bound, context.cells_of_set(metric, metric.classes), constant)


_FEW = 3
"""Of more budgets than this the lists of items are made, which answer any number of them."""


class Bound:
    """A one-class metric on a batch; its formula is proved monotone in a and in b by the compiler.

    Args:
        metric: the metric.
        context: the batch.
        constant: Lipschitz constant for the attack's norm.
        without: the items the metric does not depend on; None for neither.
    """

    def __init__(self, metric: Metric, context: Context, constant: Constant, without: Flip | None = None) -> None:
        self.metric = metric
        self.constant = constant
        batch = context.one_class(metric, metric.classes, water=constant.output_norm.p == 2)
        self.images = [Confusion.of(batch, i, without=without) for i in range(len(context))]

    def clean(self) -> list[Fraction | None]:
        """Compute the clean values, None where undefined."""
        return [image.value(self.metric) for image in self.images]

    def worst_case(self, budgets: Sequence[Fraction]) -> list[tuple[Fraction | None, ...]]:
        """Bound each image's value within each budget (Q1), exactly over the relaxed set up to stated roundings."""
        return [self._sweep(image, budgets) for image in self.images]

    def radius(self, gammas: Sequence[Sequence[Fraction | None]], *, strict: bool) -> list[tuple[Found, ...]]:
        """Bound each image's radius for each of its thresholds from below (Q2)."""
        return search.radii(
            self.metric,
            self.constant,
            [replace(image, quickly=None) for image in self.images],
            gammas,
            clean=lambda image: image.value(self.metric),
            hopeless=lambda image: image.worst(self.metric, *image.everything()),
            worst=self._worst,
            strict=strict,
        )

    def _sweep(self, image: Confusion, budgets: Sequence[Fraction]) -> tuple[Fraction | None, ...]:
        if not image.defined(self.metric):
            return (None,) * len(budgets)
        # The largest first: its items hold those of all others.
        asked = sorted(set(budgets), reverse=True)
        if len(asked) > _FEW:
            image = replace(image, quickly=None)
        found = {eps: self._worst(image, eps) for eps in asked}
        return tuple(found[eps] for eps in budgets)

    def _worst(self, image: Confusion, eps: Fraction) -> Fraction:
        return image.worst_case(self.metric, eps, self.constant)

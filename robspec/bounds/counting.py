"""Counting metrics, h = h0 - n/D with D fixed by the annotation: the exact greedy knapsack (MATH.md 3.A)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from robspec.bounds import cell_ratios, cells, ratio
from robspec.bounds.context import Context
from robspec.bounds.search import Found
from robspec.ir.plans import Accuracy, Rate, Stability
from robspec.ir.types import Metric
from robspec.kernels.knapsack import Items, Prepared
from robspec.kernels.knapsack.budget import Budget
from robspec.semantics.classify import Flip
from robspec.semantics.constant import Constant, ConstantStatus
from robspec.semantics.norm import L2

_OTHER = {Flip.LEAVE: Flip.ENTER, Flip.ENTER: Flip.LEAVE}
"""The flips a rate does not depend on."""


def open_bound(
    metric: Metric, context: Context, constant: Constant
) -> Bound | cells.Bound | cells.Rated | ratio.Bound | cell_ratios.Bound:
    """Open a counting metric on a batch."""
    constant = cells.looked_at(context, constant)
    if isinstance(metric.plan, Rate):
        if context.coarse is not None and has_cells(metric):
            read, others = context.cells_of(metric, metric.classes[0])
            return cells.Rated(metric, read, others, constant)
        return ratio.open_bound(metric, context, constant, without=_OTHER[metric.plan.flips])
    if context.coarse is None or metric.rank > 1:
        return Bound(metric, context, constant)
    read = context.cells(metric, _items(metric))
    bound = Bound(metric, context, constant, read.full)
    return bound if constant.coarse is None else cells.Bound(bound, read, constant)


def has_cells(metric: Metric) -> bool:
    """Tell whether a metric has a bound over cells: accuracy, stability, a rate that falls as pixels leave it."""
    if metric.weighted or metric.rank != 1:
        return False
    plan = metric.plan
    leaves = isinstance(plan, Rate) and plan.flips is Flip.LEAVE and len(plan.classes) == 1
    return leaves or isinstance(plan, Accuracy | Stability)


def at_best(metric: Metric, context: Context, rounding: Fraction) -> list[Fraction | None]:
    """Say what images are worth at most over the reals, from coarse logits alone.

    A pixel that is wrong as computed, with a margin that rounding may use up, is taken for one that is right.

    Args:
        metric: one that `has_cells`.
        context: a batch of coarse logits.
        rounding: bound of the l2 norm of the error of the full-size logits of one image, rounded up.
    """
    if isinstance(metric.plan, Stability):
        return Bound(metric, context, _UNMOVED, context.cells(metric, Items.PREDICTED).full).clean()
    if isinstance(metric.plan, Rate):
        inside = metric.classes[0]
        read, others = context.cells_of(metric, inside)
        more = cells.level(read, context.every(metric, inside), rounding)
        return cells.Rated(metric, read, others, _UNMOVED).clean(more)
    read = context.cells(metric, Items.CORRECT)
    more = cells.level(read, context.every(metric), rounding)
    counts = zip(read.full.items.tolist(), read.full.valid.tolist(), more, strict=True)
    return [Fraction(items + n, valid) if valid else None for items, valid, n in counts]


_UNMOVED = Constant(Fraction(0), L2, L2, ConstantStatus.PROVED)
"""For what is asked of the images alone."""


def _items(metric: Metric) -> Items:
    return Items.PREDICTED if isinstance(metric.plan, Stability) else Items.CORRECT


class Bound:
    """Pixel accuracy or stability on a batch.

    Args:
        metric: its plan is `Accuracy` or `Stability`.
        context: the batch.
        constant: Lipschitz constant for the attack's norm.
        prepared: the batch where it has been read; by default it is read here.
    """

    def __init__(
        self, metric: Metric, context: Context, constant: Constant, prepared: Prepared | None = None
    ) -> None:
        self.metric = metric
        self.constant = constant
        squared = constant.output_norm.p == 2
        self._prepared = prepared or context.prepared(metric, _items(metric), squared=squared)

    def clean(self) -> list[Fraction | None]:
        """Compute the clean values.

        Returns:
            correct / counted per image, exact; None where nothing counts (every pixel left out).
        """
        return [Fraction(items, valid) if valid else None for items, valid in self.counts()]

    def worst_case(self, budgets: Sequence[Fraction]) -> list[tuple[Fraction | None, ...]]:
        """Bound each image's value from below within each budget (Q1).

        Args:
            budgets: radii of the closed balls around the images, exact, input units.

        Returns:
            Per image, per budget: (correct - N) / D, exact rational, never above the true worst case over the
            relaxed set; None where the metric is undefined.

        Source: MATH.md section 3.A.
        """
        q, single, pixels = self.constant.output_norm.p, self._prepared.single, self._prepared.pixels
        queries = [Budget.of(eps, self.constant.value, q, pixels, single=single) for eps in budgets]
        flips = self._prepared.flips(queries).tolist()
        rows = zip(self.counts(), flips, strict=True)
        return [tuple(Fraction(items - n, valid) if valid else None for n in row) for (items, valid), row in rows]

    def radius(self, gammas: Sequence[Sequence[Fraction | None]], *, strict: bool) -> list[tuple[Found, ...]]:
        """Bound each image's generalized robustness radius from below (Q2).

        Args:
            gammas: per image, the thresholds at which the objective h <= gamma (h < gamma when strict) is met; None
                where the metric is undefined.
            strict: whether the objective is strict.

        Returns:
            Per image, per threshold: the radius in input units, an exact double as a rational; 0 where the clean
            image meets the objective; math.inf where no number of flips does; None where undefined.

        Source: MATH.md section 3.A.
        """
        counts = self.counts()
        wanted = np.array(self.flips_needed(gammas, strict=strict), dtype=np.int64)
        radii = self._prepared.radii(wanted, self.constant.value, self.constant.output_norm.p).tolist()
        return [
            tuple(
                None if gamma is None or not valid else math.inf if r == math.inf else Fraction(r)
                for r, gamma in zip(row, wished, strict=True)
            )
            for row, wished, (_, valid) in zip(radii, gammas, counts, strict=True)
        ]

    def flips_needed(self, gammas: Sequence[Sequence[Fraction | None]], *, strict: bool) -> list[list[int]]:
        """Count, per image and threshold, the fewest flips that meet an objective; see `radius`."""
        return [
            [_flips_needed(items, valid, gamma, strict=strict) for gamma in row]
            for (items, valid), row in zip(self.counts(), gammas, strict=True)
        ]

    def counts(self) -> list[tuple[int, int]]:
        """Count, per image, the pixels that are right (all, for stability) and those that count."""
        return list(zip(self._prepared.items.tolist(), self._prepared.valid.tolist(), strict=True))


def _flips_needed(items: int, valid: int, gamma: Fraction | None, *, strict: bool) -> int:
    """Fewest n with (items - n) / valid <= gamma (< gamma when strict); at most items + 1, at least 0."""
    if gamma is None or not valid:
        return 0
    exact = items - gamma * valid
    needed = math.floor(exact) + 1 if strict else math.ceil(exact)
    return min(max(needed, 0), items + 1)

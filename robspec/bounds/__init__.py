"""Worst-case bounds by metric family, one file each (MATH.md section 3).

A family is a module with `open_bound(metric, context, constant)`, named by the plans it is for (`robspec.ir.plans`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

from robspec import registry
from robspec.ir.types import Metric
from robspec.semantics.constant import Constant

if TYPE_CHECKING:
    from robspec.bounds.context import Context


class FamilyBound(Protocol):
    """A metric on a batch of images, whatever its family."""

    def clean(self) -> list[Fraction | None]:
        """Clean value of each image, exact; None where undefined."""
        ...

    def worst_case(self, budgets: Sequence[Fraction]) -> list[tuple[Fraction | None, ...]]:
        """Per image and budget, a bound never better than the true worst case."""
        ...

    def radius(
        self, gammas: Sequence[Sequence[Fraction | None]], *, strict: bool
    ) -> list[tuple[Fraction | float | None, ...]]:
        """Per image and threshold, a bound never above the true radius."""
        ...


def open_bound(metric: Metric, context: Context, constant: Constant) -> FamilyBound:
    """Open a metric on a batch with the bound of its family; a constant that is none, of samples, is refused."""
    constant.refuse_samples()
    bound: FamilyBound = registry.load(sys.modules[__name__], metric.plan.family).open_bound(
        metric, context, constant
    )
    return bound

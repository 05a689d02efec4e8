"""Connected parts of the masks of all images together, each image with a budget of its own (MATH.md 3.I)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from robspec.bounds import search
from robspec.bounds.components import Bound
from robspec.bounds.context import Context
from robspec.bounds.search import Found
from robspec.ir.types import Metric
from robspec.kernels import components as kernel
from robspec.kernels.knapsack import FloatArray
from robspec.kernels.knapsack.budget import Budget
from robspec.semantics.constant import Constant


class PooledComponents:
    """Recall of objects pooled over every image it is given; as `pooled.Pool`.

    Args:
        metric: its argument is the share of an object's pixels that must be right.
        constant: Lipschitz constant for the attack's norm.
    """

    def __init__(self, metric: Metric, constant: Constant) -> None:
        self.metric, self.constant = metric, constant
        self._folder = tempfile.TemporaryDirectory(prefix="robspec-components-")
        self._pixels, self._single = 1, False
        self._objects = self._found = 0
        self.images = 0

    def add(self, context: Context) -> None:
        """Read one batch; of each object that is found, what it loses first is kept in a file."""
        bound = Bound(self.metric, context, self.constant)
        self._pixels, self._single = bound.pixels, bound.single
        for image in bound.images:
            if image is not None:
                self._objects += image.objects
                self._found += len(image.found)
                np.savez(self._path(self.images), *image.found)
            self.images += 1

    def clean(self) -> Fraction | None:
        """Compute the clean value; None where no object is annotated on any image."""
        return Fraction(self._found, self._objects) if self._objects else None

    def worst_case(self, budgets: Sequence[Fraction]) -> tuple[Fraction | None, ...]:
        """Bound the value within each budget (Q1)."""
        return tuple(self._worst(eps) if self._objects else None for eps in budgets)

    def radius(self, gamma: Fraction | None, *, strict: bool) -> Found:
        """Bound the budget per image at which the value falls to a threshold (Q2)."""
        clean = self.clean()
        if clean is None or gamma is None:
            return None
        last = Fraction(0) if self.constant.value else self._worst(Fraction(1))
        return search.radius(self.metric, clean, last, gamma, self._worst, strict=strict)

    def close(self) -> None:
        """Delete what was kept."""
        self._folder.cleanup()

    def _worst(self, eps: Fraction) -> Fraction:
        q = self.constant.output_norm.p
        budget = Budget.of(eps, self.constant.value, q, self._pixels, single=self._single)
        lost = sum(kernel.lost(found, budget) for found in self._kept())
        return Fraction(self._found - lost, self._objects)

    def _kept(self) -> Iterator[tuple[FloatArray, ...]]:
        for number in range(self.images):
            if self._path(number).exists():
                with np.load(self._path(number)) as kept:
                    yield tuple(kept[name] for name in kept.files)

    def _path(self, number: int) -> Path:
        return Path(self._folder.name) / f"{number}.npz"

"""Connected parts of the masks of all images together, each image with a budget of its own (MATH.md 3.I)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from robspec.bounds import _carried, search
from robspec.bounds._carried import Array
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
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._pixels, self._single = 1, False
        self._objects = self._found = 0
        self.images = 0

    def add(self, context: Context) -> None:
        """Read one batch; of each object that is found, what it loses first is kept in a file."""
        self.take(self.read(context))

    def read(self, context: Context) -> Iterator[Array]:
        """Give what is kept of a batch: of each image its objects, and what those that are found lose first."""
        bound = Bound(self.metric, context, self.constant)
        rows = [(0, 0) if image is None else (image.objects, len(image.found)) for image in bound.images]
        found = [lost for image in bound.images if image is not None for lost in image.found]
        yield np.array([bound.pixels, bound.single], dtype=np.int64)
        yield np.array(rows, dtype=np.int64).reshape(-1, 2)
        yield np.array([len(lost) for lost in found], dtype=np.int64)
        yield from _carried.ragged(found)

    def take(self, arrays: Iterator[Array]) -> None:
        """Keep what was read of a batch, here or elsewhere."""
        self._pixels, single = next(arrays).tolist()
        self._single = bool(single)
        rows, lengths = next(arrays).tolist(), next(arrays).tolist()
        lists = iter(_carried.split(next(arrays), lengths))
        for objects, found in rows:
            if objects:
                self._objects += objects
                self._found += found
                np.savez(self._path(self.images), *(next(lists) for _ in range(found)))
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
        if self._folder is not None:
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
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="robspec-components-")
        return Path(self._folder.name) / f"{number}.npz"

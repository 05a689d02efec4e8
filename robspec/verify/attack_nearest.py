"""The nearest image on which a detector is degraded: bisection of the radius over the searches of one ball."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from robspec.bounds.context import Context
from robspec.ir.types import Query, RadiusQuery
from robspec.semantics.constant import Constant
from robspec.verify import attack_objects
from robspec.verify.balls import sizes, spread
from robspec.verify.descent import Differentiable
from robspec.verify.evaluate import metrics_in
from robspec.verify.result import Value
from robspec.verify.run import ImageBatch

_ROUNDS = 10
"""Radii that are tried."""
_HALVINGS = 10
"""Forward passes on the straight line back to the clean image, in the end."""
_LEAST = 4
"""Gradients at one radius."""


class Nearest:
    """The images of a batch, each with a radius of its own.

    Args:
        model: gives scores with gradients.
        batch: the clean images.
        clean: what the model makes of them.
        query: of radii, about objects.
        constant: says what a radius pays for.
        ends: of the input range.
        met: tells of images in their places which are degraded at the point that is asked, by the whole pipeline.
        late: whether the time is up.
    """

    def __init__(
        self,
        model: Differentiable,
        batch: ImageBatch,
        clean: Context,
        query: Query,
        constant: Constant,
        ends: tuple[float, float],
        met: Callable[[Tensor], list[bool]],
        late: Callable[[], bool],
    ) -> None:
        if not isinstance(query, RadiusQuery):
            raise ValueError("a worst case has a radius of its own")
        self._model, self._batch, self._clean, self._query = model, batch, clean, query
        self._constant, self._ends, self._met, self._late = constant, ends, met, late
        self._best = batch.images.clone()
        self._far = torch.full((len(batch.images),), math.inf, dtype=torch.float64)

    def found(self, point: int, known: Sequence[Value | None], steps: int) -> Tensor:
        """Search.

        Args:
            point: the objective.
            known: certified radii, where there are any: nothing is nearer.
            steps: gradients of each image, for each kind of attack and each share of what it aims at.

        Returns:
            float32 [B, C, H, W], clean where nothing was found.
        """
        norm = self._query.norm
        metrics = tuple(dict.fromkeys(metrics_in(self._query.objectives[point])))
        whole = float(sizes(torch.full_like(self._batch.images[:1], self._ends[1] - self._ends[0]), norm))
        # A certified radius is a good first guess, as the truth is above it.
        low = torch.tensor([0.0 if c is None else min(float(c), whole) for c in known], dtype=torch.float64)
        tried = torch.where(low > 0, 1.25 * low, whole / 8).clamp_max(whole)
        each = max(steps // _ROUNDS, _LEAST)
        for _ in range(_ROUNDS):
            given = (self._model, self._batch, self._clean, metrics, self._constant)
            for images in attack_objects.candidates(*given, eps=tried, norm=norm, steps=each, ends=self._ends):
                self._see(images)
                if self._late():
                    return self._best
            # What is found may be nearer than the radius it was looked for in.
            low = torch.where(self._far <= tried, low, torch.maximum(low, tried))
            nearer = (torch.minimum(low, self._far) + self._far) / 2
            tried = torch.where(torch.isfinite(self._far), nearer, (2 * tried).clamp_max(whole))
        self._shorten()
        return self._best

    def _see(self, images: Tensor) -> Tensor:
        """Keep what is nearer than anything found before, and say which images are degraded."""
        degraded = torch.tensor(self._met(images))
        far = sizes(images - self._batch.images, self._query.norm)
        better = degraded & (far < self._far)
        self._far = torch.where(better, far, self._far)
        self._best = torch.where(better[:, None, None, None], images, self._best)
        return degraded

    def _shorten(self) -> None:
        """Bisect on the straight line to the clean image; images are degraded at its far end."""
        clean, change = self._batch.images, self._best - self._batch.images
        low, high = torch.zeros(len(clean)), torch.ones(len(clean))
        for _ in range(_HALVINGS):
            if self._late():
                return
            part = (low + high) / 2
            degraded = self._see((clean + spread(part) * change).clamp(*self._ends))
            low, high = torch.where(degraded, low, part), torch.where(degraded, part, high)

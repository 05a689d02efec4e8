"""A batch as the bounds see it: what the model makes of the images, beside what is annotated."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch

from robspec.bounds.context import Context
from robspec.bounds.scene import Scene, centres_of
from robspec.ir.types import Detector, Program
from robspec.kernels.detection import FloatArray, Objects
from robspec.kernels.knapsack import Backend
from robspec.verify.errors import NonFiniteLogitsError


class Annotation(Protocol):
    """What is annotated on a batch of images."""

    @property
    def names(self) -> tuple[str, ...]:
        """The images' names."""
        ...

    @property
    def labels(self) -> torch.Tensor | None:
        """int64 [B, H, W], or None."""
        ...

    @property
    def region(self) -> torch.Tensor | None:
        """bool [B, H, W], or None."""
        ...

    @property
    def weights(self) -> torch.Tensor | None:
        """float64 [B, H, W], or None."""
        ...

    @property
    def objects(self) -> tuple[Objects, ...] | None:
        """What is on each image, of a detector; else None."""
        ...


def context(
    program: Program, backend: Backend, logits: torch.Tensor, boxes: torch.Tensor | None, batch: Annotation
) -> Context:
    """Put a batch together.

    Args:
        program: the compiled specification.
        backend: computes the knapsacks.
        logits: [B, K, H, W]; of a detector [B, K, 1, N].
        boxes: [B, 4, 1, N] of a detector that returns them; else None.
        batch: what is annotated.

    Raises:
        NonFiniteLogitsError: E0401, a box is not finite.
    """
    detector = program.model.detector
    scenes = None if detector is None else (detector, _scenes(program, detector, logits, boxes, batch))
    rest = (batch.labels, program.data.ignore, batch.region, batch.weights)
    return Context(backend, logits, *rest, scenes=scenes)


def _scenes(
    program: Program, detector: Detector, logits: torch.Tensor, boxes: torch.Tensor | None, batch: Annotation
) -> tuple[Scene, ...]:
    _, height, width = program.model.input_shape
    centres = centres_of(detector.strides, height, width) if detector.strides else None
    scores = _doubles(logits)[:, :, 0, :]
    places = None if boxes is None else np.ascontiguousarray(_doubles(boxes)[:, :, 0, :].transpose(0, 2, 1))
    if places is not None:
        for name, rows in zip(batch.names, places, strict=True):
            if not math.isfinite(float(np.abs(rows).max(initial=0.0))):
                what = "the model's boxes hold a NaN or an infinity on this image"
                raise NonFiniteLogitsError(name, what, "run the model on this image alone")
    none = Objects(np.empty((0, 4)), np.empty(0, np.int64), np.empty(0, np.bool_), np.empty(0, np.bool_))
    objects = batch.objects or (none,) * len(batch.names)
    return tuple(
        Scene(s, None if places is None else places[i], centres, o)
        for i, (s, o) in enumerate(zip(scores, objects, strict=True))
    )


def _doubles(values: torch.Tensor) -> FloatArray:
    return np.asarray(values.detach().cpu().to(torch.float64).numpy())

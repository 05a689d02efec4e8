"""A batch as the bounds see it: what the model makes of the images, beside what is annotated."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np

from robspec import arrays
from robspec.arrays import Array
from robspec.bounds.context import Coarse, Context
from robspec.bounds.scene import Scene, centres_of
from robspec.data.objects import Objects as Annotated
from robspec.ir.types import Detector, Program
from robspec.kernels.detection import Objects
from robspec.kernels.knapsack import Backend
from robspec.verify.backend import within_reach
from robspec.verify.errors import NonFiniteLogitsError

if TYPE_CHECKING:
    import torch

    from robspec.lipschitz.tail import Tail


class BoxesModel(Protocol):
    """The second output of a detector."""

    @property
    def output_shape(self) -> tuple[int, ...]:
        """4, and the number of locations."""
        ...

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Compute boxes, [B, 4, 1, N]."""
        ...


class Batch(Protocol):
    """A batch of images, and of a detector also its `objects`."""

    @property
    def names(self) -> tuple[str, ...]:
        """The images' names."""
        ...

    @property
    def images(self) -> torch.Tensor:
        """Float32 [B, C, H, W] in the declared range."""
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


def second(model: object) -> BoxesModel | None:
    """The boxes of a model that is a detector and returns some; None of any other."""
    found: BoxesModel | None = getattr(model, "second", None)
    return found


def context(
    program: Program,
    backend: Backend,
    model: object,
    logits: Array,
    batch: Batch,
    tail: Tail | None = None,
) -> Context:
    """Put a batch together.

    Args:
        program: the compiled specification.
        backend: computes the knapsacks.
        model: asked for boxes where it has some.
        logits: what it made of the images, [B, K, H, W]; of a detector [B, K, 1, N].
        batch: the images and what is annotated.
        tail: of a model that was cut before a fixed up-sampling, what its logits become; else None.

    Raises:
        NonFiniteLogitsError: E0401, a box is not finite.
    """
    detector, boxes = program.model.detector, second(model)
    scenes = None
    if detector is not None:
        places = None if boxes is None else boxes.logits(batch.images)
        scenes = (detector, _scenes(program, detector, logits, places, batch))
    logits = within_reach(backend, logits)
    given = logits if tail is None else Coarse(logits, tail.grid, lambda few: tail.enlarge(arrays.tensor(few)))
    beside = getattr(batch, "arrays", batch)
    rest = (beside.labels, program.data.ignore, beside.region, beside.weights)
    return Context(backend, given, *rest, scenes=scenes)


def _scenes(
    program: Program, detector: Detector, logits: Array, boxes: Array | None, batch: Batch
) -> tuple[Scene, ...]:
    _, height, width = program.model.input_shape
    centres = centres_of(detector.strides, height, width) if detector.strides else None
    scores = arrays.doubles(logits)[:, :, 0, :]
    places = None if boxes is None else np.ascontiguousarray(arrays.doubles(boxes)[:, :, 0, :].transpose(0, 2, 1))
    if places is not None:
        for name, rows in zip(batch.names, places, strict=True):
            if not math.isfinite(float(np.abs(rows).max(initial=0.0))):
                what = "the model's boxes hold a NaN or an infinity on this image"
                raise NonFiniteLogitsError(name, what, "run the model on this image alone")
    given: tuple[Annotated, ...] | None = getattr(batch, "objects", None)
    none = Objects(np.empty((0, 4)), np.empty(0, np.int64), np.empty(0, np.bool_), np.empty(0, np.bool_))
    objects = [none] * len(batch.names)
    if given is not None:
        objects = [Objects(o.boxes, o.classes, o.crowd, o.ignored) for o in given]
    return tuple(
        Scene(s, None if places is None else places[i], centres, o)
        for i, (s, o) in enumerate(zip(scores, objects, strict=True))
    )

"""A data set and its model as a check sees them, while workers compute what comes next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import numpy.typing as npt
import torch

from robspec.arrays import tensor
from robspec.ir.types import Program
from robspec.models.loading import LoadedModel
from robspec.semantics.smoothing import Smoothing
from robspec.session.crew import Arrays
from robspec.session.worker import Task
from robspec.smoothing.sampling import Counts, Model, sample
from robspec.store.remembering import Remembering
from robspec.verify.run import ImageBatch, ImageSource, LogitsModel
from robspec.verify.smoothed import asked, chunk


class Workers(Protocol):
    """Whatever computes batches elsewhere."""

    @property
    def count(self) -> int:
        """How many at once."""
        ...

    def submit(self, task: Task, names: Sequence[str]) -> Future[Arrays]:
        """Have a batch computed."""
        ...


class _Asked:
    """A batch, and what is known or being computed of it."""

    def __init__(self, batch: ImageBatch, known: torch.Tensor | None, coming: Future[Arrays] | None) -> None:
        self.batch, self.known, self.coming = batch, known, coming

    def arrays(self) -> Sequence[npt.NDArray[Any]] | None:
        return None if self.coming is None else self.coming.result()


class Ahead:
    """Streams a data set in order, two batches ahead for each worker, and hands out what the workers found.

    The same batches are formed as without workers and are asked for in the same order. Where a worker met an error,
    the batch is computed here again, so that the error is the same too; an error of a file waits for its turn.

    Args:
        program: the compiled specification.
        model: the network; computes here what no worker could.
        data: the images.
        crew: the workers.
        store: what remembers logits, or None.
        apart: whether the logits of an image depend on no other image of its batch.
    """

    def __init__(
        self,
        program: Program,
        model: LoadedModel,
        data: ImageSource,
        crew: Workers,
        store: Remembering | None,
        *,
        apart: bool,
    ) -> None:
        self._model, self._data, self._crew, self._store = model, data, crew, store
        self._smoothings, self._chunk = asked(program), chunk(program, apart=apart)
        self._now: _Asked | None = None
        self._coming: deque[_Asked] = deque()
        self.second: LogitsModel | None = None if model.second is None else _Boxes(self, model.second)

    def __len__(self) -> int:
        """Number of images."""
        return len(self._data)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Channels, height, width."""
        return self._model.input_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of the logits of one image."""
        return self._model.output_shape

    def batches(self, size: int) -> Iterator[ImageBatch]:
        """Stream the images in order; see `robspec.data.dataset.Dataset.batches`."""
        source, failed, more = self._data.batches(size), None, True
        try:
            while True:
                while more and len(self._coming) < 2 * self._crew.count:
                    try:
                        batch = next(source, None)
                    except Exception as error:  # noqa: BLE001
                        failed, batch = error, None
                    more = batch is not None
                    if batch is not None:
                        self._coming.append(self._sent(batch))
                if not self._coming:
                    break
                self._now = self._coming.popleft()
                yield self._now.batch
            if failed is not None:
                raise failed
        finally:
            for left in (self._now, *self._coming):
                if left is not None and left.coming is not None:
                    left.coming.cancel()

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """The logits of the batch that was streamed last."""
        now = self._of(images)
        if now is not None and now.known is not None:
            return now.known
        arrays = None if now is None else now.arrays()
        found = self._model.logits(images) if arrays is None else torch.from_numpy(arrays[0])
        if self._store is not None:
            self._store.keep(images, found)
        return found

    def boxes(self, images: torch.Tensor, model: LogitsModel) -> torch.Tensor:
        """The boxes of the batch that was streamed last."""
        now = self._of(images)
        arrays = None if now is None else now.arrays()
        return model.logits(images) if arrays is None else torch.from_numpy(arrays[1])

    def sample(self, model: Model, image: torch.Tensor, smoothing: Smoothing, size: int) -> Counts:
        """What sampling found of an image of that batch; see `robspec.smoothing.sampling.sample`."""
        now = self._now
        arrays = None if now is None else now.arrays()
        if now is None or arrays is None or smoothing not in self._smoothings or size != self._chunk:
            return sample(model, image, smoothing, size)
        places = [k for k, other in enumerate(now.batch.images) if other.data_ptr() == image.data_ptr()]
        if not places:
            return sample(model, image, smoothing, size)
        before = len(now.batch.images) * self._smoothings.index(smoothing) + places[0]
        # Logits, and boxes, come before the samples; each sample is two arrays.
        first = len(arrays) - 2 * len(now.batch.images) * len(self._smoothings) + 2 * before
        return Counts(arrays[first], arrays[first + 1])

    def _of(self, images: torch.Tensor) -> _Asked | None:
        return self._now if self._now is not None and self._now.batch.images is images else None

    def _sent(self, batch: ImageBatch) -> _Asked:
        known = None if self._store is None else tensor(self._store.recall(batch.images))
        if known is not None and not self._smoothings:
            return _Asked(batch, known, None)
        task = Task(batch.images.numpy(), known is None, self._smoothings, self._chunk)
        return _Asked(batch, known, self._crew.submit(task, batch.names))


class _Boxes:
    """The second output of a detector."""

    def __init__(self, ahead: Ahead, model: LoadedModel) -> None:
        self._ahead, self._model = ahead, model

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Channels, height, width."""
        return self._model.input_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """4, and the number of locations."""
        return self._model.output_shape

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Boxes, [B, 4, 1, N]."""
        return self._ahead.boxes(images, self._model)

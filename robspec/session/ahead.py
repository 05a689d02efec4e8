"""A data set and its model as a check sees them, while workers compute what comes next."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Protocol

import torch

from robspec.arrays import tensor
from robspec.data import unread
from robspec.data.dataset import Dataset
from robspec.data.objects import Objects
from robspec.data.unread import Unread
from robspec.ir.types import Program
from robspec.models.loading import LoadedModel
from robspec.semantics.smoothing import Smoothing
from robspec.session.answer import Answer
from robspec.session.worker import Task
from robspec.smoothing.sampling import Counts, Model, sample
from robspec.store.remembering import LARGEST, Remembering
from robspec.verify.found import Found
from robspec.verify.run import ImageBatch, ImageSource, LogitsModel
from robspec.verify.smoothed import asked, chunk

_LEAST = 2
"""Bytes of a logit, at least."""


class Workers(Protocol):
    """Whatever computes batches elsewhere."""

    @property
    def count(self) -> int:
        """How many at once."""
        ...

    @property
    def beside(self) -> bool:
        """Whether they are on this machine: its files are theirs, and its store."""
        ...

    def submit(self, task: Task, names: Sequence[str]) -> Future[Answer | None]:
        """Have a batch computed."""
        ...


class _Asked:
    """A batch, and what is known or being computed of it."""

    def __init__(self, batch: ImageBatch, known: torch.Tensor | None, coming: Future[Answer | None] | None) -> None:
        self.batch, self.known, self.coming = batch, known, coming
        self.stored = known is not None

    def answer(self) -> Answer | None:
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
        job: what bounds are asked of the workers, see `robspec.session.job`; empty where they are found here.
        near: whether logits are wanted of every batch, and not of the first alone, and of those that a store keeps.
        reading: whether workers may decode the images of a batch themselves: those whose logits nobody here looks at.
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
        job: str = "",
        near: bool = True,
        reading: bool = False,
    ) -> None:
        self._model, self._data, self._crew, self._store = model, data, crew, store
        self._smoothings, self._chunk = asked(program), chunk(program, apart=apart)
        self._job, self._near = job, near
        self._reading = reading and not near and not self._smoothings and bool(job)
        self._few = 0 if store is None else LARGEST // (_LEAST * math.prod(model.output_shape))
        self._sent_any = False
        self._predicted: set[int] = set()
        self._classes = len(program.model.classes)
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
        source, failed, more = self._source(size), None, True
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
        answer = None if now is None else now.answer()
        told = None if answer is None or answer.logits is None else torch.from_numpy(answer.logits)
        found = self._model.logits(images) if told is None else told
        if now is None or not now.stored:
            self._keep(images, found)
        if now is not None:
            now.known, now.stored = found, True
        return found

    def found(self, batch: ImageBatch) -> Found | None:
        """What a worker found of the batch that was streamed last; None where it is to be found here."""
        now = self._now if self._now is not None and self._now.batch is batch else None
        answer = None if now is None else now.answer()
        if now is None or answer is None:
            return None
        if answer.seen is not None and isinstance(batch, Unread):
            batch.take(answer.seen)
        if answer.known and self._store is not None:
            self._store.hits += 1
        if answer.key and answer.logits is not None and self._store is not None:
            self._store.keep_under(answer.key, answer.logits)
        elif answer.logits is not None:
            self.logits(batch.images)  # writes them into the store
        if answer.found is not None:
            self._predicted.update(answer.found.counted.predicted)
        if answer.found is None or answer.seen is None:
            return answer.found
        return replace(answer.found, contents=answer.seen.contents)

    def boxes(self, images: torch.Tensor, model: LogitsModel) -> torch.Tensor:
        """The boxes of the batch that was streamed last."""
        now = self._of(images)
        answer = None if now is None else now.answer()
        told = None if answer is None else answer.boxes
        return model.logits(images) if told is None else torch.from_numpy(told)

    def sample(self, model: Model, image: torch.Tensor, smoothing: Smoothing, size: int) -> Counts:
        """What sampling found of an image of that batch; see `robspec.smoothing.sampling.sample`."""
        now = self._now
        answer = None if now is None else now.answer()
        if now is None or answer is None or smoothing not in self._smoothings or size != self._chunk:
            return sample(model, image, smoothing, size)
        places = [k for k, other in enumerate(now.batch.images) if other.data_ptr() == image.data_ptr()]
        if not places:
            return sample(model, image, smoothing, size)
        return answer.samples[len(now.batch.images) * self._smoothings.index(smoothing) + places[0]]

    def _of(self, images: torch.Tensor) -> _Asked | None:
        now = self._now
        if now is None or (isinstance(now.batch, Unread) and not now.batch.read):
            return None
        return now if now.batch.images is images else None

    def _source(self, size: int) -> Iterator[ImageBatch]:
        """The batches of the data set: some of them not decoded here, where workers do that.

        The first is decoded here: its logits are looked at. Logits are known, and kept, by their pixels, so that
        whoever decodes images looks for them; on another machine is no store.
        """
        if not (self._reading and isinstance(self._data, Dataset)):
            yield from self._data.batches(size)
            return
        for number, batch in enumerate(unread.batches(self._data, size)):
            if not number or not (self._crew.beside or self._too_many(batch)):
                batch.arrays  # noqa: B018 - read now, so that what is wrong with a file is said in its turn
            elif not self._crew.beside:
                batch.hold()
            yield batch

    def _too_many(self, batch: ImageBatch) -> bool:
        """Whether no store keeps the logits of so many images."""
        return len(batch.names) > self._few

    def _sent(self, batch: ImageBatch) -> _Asked:
        if isinstance(batch, Unread) and not batch.read:
            predicted = len(self._predicted) < self._classes
            kept = not self._too_many(batch)
            asked = (None, False, (), self._chunk, self._job, batch.names)
            task = Task(*asked, kept=kept, predicted=predicted, unread=batch.told)
            return _Asked(batch, None, self._crew.submit(task, batch.names))
        known = None if self._store is None else tensor(self._store.recall(batch.images))
        if known is not None and not self._smoothings and not self._job:
            return _Asked(batch, known, None)
        objects: Sequence[Objects] | None = getattr(batch, "objects", None)
        task = Task(
            batch.images.numpy(),
            known is None and (self._near or not self._sent_any),
            self._smoothings,
            self._chunk,
            self._job,
            batch.names,
            labels=None if batch.labels is None else batch.labels.numpy(),
            region=None if batch.region is None else batch.region.numpy(),
            weights=None if batch.weights is None else batch.weights.numpy(),
            objects=None if objects is None else tuple((o.boxes, o.classes, o.crowd, o.ignored) for o in objects),
            known=known.numpy() if known is not None and self._job else None,
            kept=self._store is not None,
            predicted=len(self._predicted) < self._classes,
        )
        self._sent_any = True
        return _Asked(batch, known, self._crew.submit(task, batch.names))

    def _keep(self, images: torch.Tensor, found: torch.Tensor) -> None:
        if self._store is not None:
            self._store.keep(images, found)


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

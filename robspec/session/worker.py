"""What a process of `robspec check --workers N` does: it loads the model once, then answers for one batch at a time.

It is started by `robspec.session.crew`. What it is told comes from the process that started it; what it answers is
plain arrays. It finds bounds of the images it has the logits of, and decides no requirement.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from robspec.arrays import host, tensor
from robspec.data.dataset import Arrays, Batch
from robspec.data.objects import Objects
from robspec.data.unread import Seen, read
from robspec.lipschitz.cache import key
from robspec.lipschitz.tail import find
from robspec.models.loading import LoadedModel, load
from robspec.semantics.norm import L2
from robspec.semantics.smoothing import Smoothing
from robspec.session import device as devices
from robspec.session import job as jobs
from robspec.session.answer import Answer
from robspec.session.remembered import identity
from robspec.smoothing.sampling import sample
from robspec.store import Store
from robspec.store.remembering import Remembering, worth_keeping
from robspec.verify import seen
from robspec.verify.backend import choose
from robspec.verify.constant import before_tail
from robspec.verify.found import Extremes, Finder, Found
from robspec.verify.run import refuse_non_finite


@dataclass(frozen=True, slots=True)
class Setup:
    """What is loaded.

    Args:
        path: the model file.
        sha256: of its bytes, as the first process read them.
        options: the other arguments of `load`.
        threads: how many threads torch uses.
        function: `robspec.lipschitz.cache.key` of its program, which the code of `--arch` decides too; or empty.
        coarse: whether logits are wanted as they are before the fixed up-sampling that ends the network.
        store: the file that logits are looked up in of images that are read here; None for none. One process writes
            them into it: the first.
    """

    path: Path
    sha256: str
    options: dict[str, Any]
    threads: int
    function: str = ""
    coarse: bool = False
    store: Path | None = None

    @property
    def about(self) -> str:
        """Names the function that is run: file, graph and values, and where it ends."""
        return f"{self.sha256} {self.function} {self.coarse}"


@dataclass(frozen=True, slots=True)
class Task:
    """One batch.

    Args:
        images: [B, C, H, W]; None where they are to be read.
        logits: whether they are wanted, and the boxes of a detector that has some.
        smoothings: settings to sample each image with.
        chunk: samples per forward pass.
        job: what bounds are asked, see `robspec.session.job`; empty for none.
        names: of the images, which errors and answers are about.
        labels: int64 [B, H, W], or None.
        region: bool [B, H, W], or None.
        weights: float64 [B, H, W], or None.
        objects: of each image boxes, classes, crowd and ignored; or None.
        known: the logits, where they were computed before, [B, K, H, W]; else None.
        kept: whether logits are wanted that a store would keep.
        predicted: whether the classes predicted are wanted.
        unread: what tells of images and annotation to be read, see `robspec.data.unread`; empty where they are given.
    """

    images: npt.NDArray[np.floating] | None
    logits: bool
    smoothings: tuple[Smoothing, ...] = ()
    chunk: int = 1
    job: str = ""
    names: tuple[str, ...] = ()
    labels: npt.NDArray[np.int64] | None = None
    region: npt.NDArray[np.bool_] | None = None
    weights: npt.NDArray[np.float64] | None = None
    objects: tuple[tuple[npt.NDArray[Any], ...], ...] | None = None
    known: npt.NDArray[np.floating] | None = None
    kept: bool = False
    predicted: bool = True
    unread: bytes = b""

    def tie(self, about: str) -> bytes:
        """Name what is asked, by every bit of it, and of which function: an answer repeats it.

        Args:
            about: `Setup.about`.
        """
        found = hashlib.sha256()
        asked = (about, self.job, self.names, self.smoothings, self.chunk, self.logits, self.kept, self.predicted)
        found.update(repr(asked).encode() + hashlib.sha256(self.unread).digest())
        objects = [part for each in self.objects or () for part in each]
        for array in (self.images, self.labels, self.region, self.weights, self.known, *objects):
            found.update(b"\0none" if array is None else f"\0{array.dtype} {array.shape}\0".encode())
            if array is not None:
                found.update(np.ascontiguousarray(array).data)
        return found.digest()

    def batch(self) -> tuple[Batch, Seen | None]:
        """The images with what is annotated, and what was read of them, if it was.

        Raises:
            RobspecError: a file is wrong.
            ValueError: there are no images.
        """
        if self.unread:
            return read(self.unread)
        if self.images is None:
            raise ValueError("there are no images")
        objects = None if self.objects is None else tuple(Objects(*parts) for parts in self.objects)
        return Batch(Arrays(self.names, self.images, self.labels, self.region, self.weights, objects)), None


class Answerer:
    """Answers for one batch at a time.

    Args:
        model: loaded.
        setup: what was to be loaded.

    Raises:
        ValueError: that is something else.
    """

    def __init__(self, model: LoadedModel, setup: Setup) -> None:
        if not same(model, setup):
            raise ValueError(f"{setup.path}: it, or the code that builds its network, is another than it was")
        self._model, self._about = model, setup.about
        self._runs = before_tail(model) if setup.coarse else model
        self._tail = find(model.program) if setup.coarse else None
        self._jobs: dict[str, tuple[jobs.Job, Finder]] = {}
        self._store = setup.store

    @cached_property
    def _remembering(self) -> Remembering | None:
        """What the store knows of what is run here; opened when it is first asked."""
        return None if self._store is None else Remembering(self._runs, Store(self._store), identity(self._runs))

    def answer(self, task: Task) -> bytes:
        """Compute one batch.

        Returns:
            `Answer.written`; nothing where computing it raised an error.
        """
        try:
            return self._answer(task).written(task.tie(self._about))
        except Exception:  # noqa: BLE001
            # Who asked meets the same error when it computes the batch itself, and words it as it always does.
            return b""

    def _answer(self, task: Task) -> Answer:
        (batch, read_), second = task.batch(), self._model.second
        logits = boxes = found = None
        store = self._remembering if task.kept and task.unread else None
        known = tensor(task.known if store is None else store.recall(batch.images))
        if task.logits or task.job:
            logits = self._runs.logits(batch.images) if known is None else known
            boxes = None if second is None else second.logits(batch.images)
        if task.job and logits is not None:
            found = self._found(task, batch, logits, boxes)
        told = logits if known is None else None
        if told is not None and not task.logits and not (task.kept and worth_keeping(told)):
            told = None
        samples = [sample(self._model, image, s, task.chunk) for s in task.smoothings for image in batch.images]
        return Answer(
            None if told is None else host(told),
            host(boxes) if task.logits and boxes is not None else None,
            found,
            tuple(samples),
            read_,
            store is not None and known is not None,
            b"" if store is None or told is None else store.key(batch.images),
        )

    def _found(self, task: Task, batch: Batch, logits: torch.Tensor, boxes: torch.Tensor | None) -> Found:
        if task.job not in self._jobs:
            job = jobs.read(task.job)
            self._jobs[task.job] = job, Finder(job.program, job.constants, pair_bound=job.pair_bound)
        job, finder = self._jobs[task.job]
        model = _Known(boxes)
        backend = choose(job.backend, logits.device.type)
        context = seen.context(job.program, backend, model, logits, batch, self._tail)
        refuse_non_finite(context, batch.names)
        found = finder.find(context, batch.names, predicted=task.predicted)
        watched = (logits.shape[1] == 1 or job.program.model.detector is not None) and logits.numel()
        low, high = map(float, torch.aminmax(logits)) if watched else (float("inf"), -float("inf"))
        return replace(found, extremes=Extremes(logits.shape[1], low, high))


class _Known:
    """A detector whose boxes have been computed."""

    def __init__(self, boxes: torch.Tensor | None) -> None:
        self._boxes = boxes
        self.second = None if boxes is None else self

    @property
    def output_shape(self) -> tuple[int, ...]:
        return () if self._boxes is None else tuple(self._boxes.shape[1:])

    def logits(self, _images: torch.Tensor) -> torch.Tensor | None:
        return self._boxes


def main(descriptor: int) -> None:
    """Answer until nobody listens any more.

    Args:
        descriptor: number of an open socket.
    """
    connection = Connection(descriptor)
    try:
        setup: Setup = connection.recv()
        torch.set_num_threads(setup.threads)
        model = load(setup.path, **setup.options)
        try:
            answerer = Answerer(model, setup)
        except ValueError as error:
            sys.exit(str(error))
        with devices.current(str(model.device)):
            while True:
                connection.send_bytes(answerer.answer(connection.recv()))
    except (EOFError, OSError):
        return  # whoever asked has ended


def same(model: LoadedModel, setup: Setup) -> bool:
    """Whether what was loaded here is what the first process loaded: file, graph and values."""
    if model.sha256 != setup.sha256:
        return False
    return not setup.function or key(model.program, L2, L2) == setup.function

"""What a process of `robspec check --workers N` does: it loads the model once, then answers for one batch at a time.

It is started by `robspec.session.crew`. What it is told comes from the process that started it; what it answers is
plain arrays. Nothing it computes is a verdict.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from robspec.lipschitz.cache import key
from robspec.models.loading import LoadedModel, load
from robspec.semantics.norm import L2
from robspec.semantics.smoothing import Smoothing
from robspec.smoothing.sampling import sample
from robspec.verify.constant import before_tail


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
    """

    path: Path
    sha256: str
    options: dict[str, Any]
    threads: int
    function: str = ""
    coarse: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """One batch.

    Args:
        images: [B, C, H, W].
        logits: whether they are wanted, and the boxes of a detector that has some.
        smoothings: settings to sample each image with.
        chunk: samples per forward pass.
    """

    images: npt.NDArray[np.floating]
    logits: bool
    smoothings: tuple[Smoothing, ...] = ()
    chunk: int = 1


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
        if not same(model, setup):
            sys.exit(f"{setup.path}: it, or the code that builds its network, is another than it was")
        runs = before_tail(model) if setup.coarse else model
        while True:
            connection.send_bytes(answer(model, connection.recv(), runs))
    except (EOFError, OSError):
        return  # whoever asked has ended


def same(model: LoadedModel, setup: Setup) -> bool:
    """Whether what was loaded here is what the first process loaded: file, graph and values."""
    if model.sha256 != setup.sha256:
        return False
    return not setup.function or key(model.program, L2, L2) == setup.function


def answer(model: LoadedModel, task: Task, runs: LoadedModel | None = None) -> bytes:
    """Compute one batch.

    Args:
        model: loaded.
        task: the batch.
        runs: computes the logits; by default the model.

    Returns:
        Arrays, packed; nothing where computing them raised an error.
    """
    try:
        return packed(_arrays(model, task, runs or model))
    except Exception:  # noqa: BLE001
        # Who asked meets the same error when it computes the batch itself, and words it as it always does.
        return b""


def _arrays(model: LoadedModel, task: Task, runs: LoadedModel) -> Iterable[npt.NDArray[Any]]:
    images = torch.from_numpy(task.images)
    if task.logits:
        yield runs.logits(images).numpy()
        if model.second is not None:
            yield model.second.logits(images).numpy()
    for smoothing in task.smoothings:
        for image in images:
            counts = sample(model, image, smoothing, task.chunk)
            yield counts.chosen
            yield counts.hits


def packed(arrays: Iterable[npt.NDArray[Any]]) -> bytes:
    """Write arrays one after another."""
    out = io.BytesIO()
    for array in arrays:
        np.lib.format.write_array(out, np.ascontiguousarray(array), allow_pickle=False)
    return out.getvalue()


def unpacked(blob: bytes) -> Sequence[npt.NDArray[Any]]:
    """Read what `packed` wrote."""
    stream, found = io.BytesIO(blob), []
    while stream.tell() < len(blob):
        found.append(np.lib.format.read_array(stream, allow_pickle=False))
    return found

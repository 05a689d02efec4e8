"""Processes on this machine that run the model, started when first needed and started again when one is killed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection

import torch

from robspec.session import device as devices
from robspec.session.answer import Answer, read
from robspec.session.worker import Setup, Task
from robspec.verify.errors import WorkerLost

TRIES = 3
"""How often a batch is given to a worker before the run stops."""


def threads() -> int:
    """How many threads a worker has: one, unless OMP_NUM_THREADS says how many.

    The last bits of a sum may depend on it, so it is the same for any number of workers.
    """
    return torch.get_num_threads() if os.environ.get("OMP_NUM_THREADS") else 1


class Crew:
    """A number of workers; each has a thread here that hands it one batch after the other.

    Args:
        count: how many.
        setup: what each loads.
    """

    beside = True
    """On this machine, see `robspec.session.ahead.Workers`."""

    def __init__(self, count: int, setup: Setup) -> None:
        self.count, self.threads, self._setup = count, setup.threads, setup
        self._own = threading.local()
        self._lock = threading.Lock()
        self._workers: set[_Worker] = set()
        self._closed = False
        self._numbered = 0
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="robspec-worker")

    def submit(self, task: Task, names: Sequence[str]) -> Future[Answer | None]:
        """Have a batch computed.

        Args:
            task: the batch.
            names: of its images, for a message.

        Returns:
            The answer; None where computing it raised an error. Raises WorkerLost (E0606) if its workers end.
        """
        return self._pool.submit(self._call, task, tuple(names))

    def processes(self) -> tuple[int, ...]:
        """Process ids of the workers that run now."""
        with self._lock:
            return tuple(sorted(worker.process.pid for worker in self._workers))

    def close(self) -> None:
        """End all workers, whatever they do."""
        with self._lock:
            self._closed = True
            for worker in self._workers:
                worker.process.kill()
        self._pool.shutdown(cancel_futures=True)
        while self._workers:
            self._workers.pop().end()

    def _call(self, task: Task, names: tuple[str, ...]) -> Answer | None:
        status: int | None = None
        for _ in range(TRIES):
            worker = getattr(self._own, "worker", None) or self._started()
            try:
                worker.connection.send(task)
                blob = worker.connection.recv_bytes()
            except (EOFError, OSError):
                self._own.worker = None
                status = worker.end()
                with self._lock:
                    self._workers.discard(worker)
                    if self._closed:
                        break
            else:
                return read(blob, task.tie(self._setup.about)) if blob else None
        how = f"by signal {-status}" if status is not None and status < 0 else f"with status {status}"
        raise WorkerLost(
            names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}",
            f"the worker that had these images ended {how}, {TRIES} times",
            "ask for fewer --workers or a smaller --batch-size if memory ran out, or check without --workers",
        )

    def _started(self) -> _Worker:
        with self._lock:
            if self._closed:
                raise WorkerLost("workers", "they have been ended", "run the check again")
            if not hasattr(self._own, "number"):
                self._own.number, self._numbered = self._numbered, self._numbered + 1
            worker = _Worker(devices.given(self._setup, self._own.number))
            self._workers.add(worker)
        self._own.worker = worker
        return worker


class _Worker:
    """A process, and the line to it."""

    def __init__(self, setup: Setup) -> None:
        here, there = socket.socketpair()
        number = str(setup.threads)
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": number}
        # A session of its own: Ctrl-C is for the process that asked, which then ends its workers.
        self.process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-c", f"from robspec.session.worker import main; main({there.fileno()})"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(there.fileno(),),
            start_new_session=True,
            env=env,
        )
        there.close()
        self.connection = Connection(here.detach())
        with suppress(OSError):  # one that has ended already shows it when it is asked
            self.connection.send(setup)

    def end(self) -> int:
        """End it; returns its exit status, or minus the signal that ended it."""
        self.connection.close()
        try:
            return self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

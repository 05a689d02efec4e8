"""Actors of a Ray cluster that run the model, with the interface of `robspec.session.crew`."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import features

from robspec import extras
from robspec.models.loading import load
from robspec.session import device as devices
from robspec.session.answer import Answer, read
from robspec.session.crew import TRIES
from robspec.session.worker import Answerer, Setup, Task
from robspec.verify.errors import DeviceUnavailable, NoCluster, OptionValueError, WorkerLost
from robspec.verify.run import versions


def installed() -> dict[str, str]:
    """List the versions, on this machine, of what decodes images and of what is computed with them."""
    decoders = {name: features.version(name) or "none" for name in ("pil", "jpg", "libjpeg_turbo", "libtiff", "webp")}
    return versions() | decoders


class Holder:
    """What an actor is: it loads the model once, then answers for one batch at a time.

    Args:
        setup: what is loaded.
        blob: the bytes of the model file, for a machine where it does not lie.
        wanted: what `installed` found where the check was begun: other versions may make other pixels of a file.

    Raises:
        ValueError: this machine has others.
    """

    def __init__(self, setup: Setup, blob: bytes, wanted: dict[str, str]) -> None:
        here = installed()
        others = [name for name in sorted(here.keys() | wanted.keys()) if here.get(name) != wanted.get(name)]
        if others:
            found = ", ".join(f"{n} {here.get(n, 'none')} for {wanted.get(n, 'none')}" for n in others)
            raise ValueError(f"the machine of an actor has other versions than this one: {found}")
        torch.set_num_threads(setup.threads)
        setup = devices.given(setup, 0)  # Ray shows it its own GPU and no other
        self._lacks = devices.missing(0) if devices.is_far(setup) else ""
        if self._lacks:
            return
        with tempfile.TemporaryDirectory(prefix="robspec-actor-") as folder:
            path = setup.path
            if not path.is_file():
                path = Path(folder) / setup.path.name
                path.write_bytes(blob)
            self._answerer = Answerer(load(path, **setup.options), setup)

    def answer(self, task: Task) -> bytes:
        """Compute one batch; see `robspec.session.worker`."""
        return self._answerer.answer(task)

    def lacks(self) -> str:
        """Why the device that it was to use cannot be used, and on which machine; empty where it can."""
        return f"{self._lacks}, on {socket.gethostname()}" if self._lacks else ""

    def process(self) -> int:
        """Process id."""
        return os.getpid()


class Cluster:
    """Actors that hold the model; each has a thread here that hands it one batch after the other.

    They may be on other machines. So they are sent what files hold, and open none: what lies there under the same
    path may be another file.

    Args:
        address: of a running cluster, or `auto`: the one that RAY_ADDRESS names or this machine belongs to, else one
            that is started on this machine and ends with the check.
        count: how many actors; None for one on each CPU of the cluster.
        setup: what each loads.

    Raises:
        MissingExtra: E0870, Ray is not installed.
        NoCluster: E0607, no cluster answers at that address.
        OptionValueError: E0601, it has not the CPUs or GPUs for so many actors, which would be waited for without
            end.
        DeviceUnavailable: E0408, an actor cannot use its GPU.
    """

    beside = False
    """On other machines too, see `robspec.session.ahead.Workers`."""

    def __init__(self, address: str, count: int | None, setup: Setup) -> None:
        extras.require("cluster", "--ray")
        import ray

        self._ray, self.threads, self._about = ray, setup.threads, setup.about
        self._began = not ray.is_initialized()
        if self._began:
            _connect(ray, address)
        far, has = devices.is_far(setup), ray.cluster_resources()
        needs = {"CPU": setup.threads, **({"GPU": 1} if far else {})}
        there = {kind: int(has.get(kind, float(kind == "CPU"))) for kind in needs}
        scarce = min(needs, key=lambda kind: there[kind] // needs[kind])
        most = there[scarce] // needs[scarce]
        self.count = most if count is None else count
        if not 0 < self.count <= most:
            if self._began:
                ray.shutdown()
            asked = f"{count or 1} actors of {needs[scarce]} {scarce}s each are asked for"
            other = "say --device cpu" if scarce == "GPU" else "set OMP_NUM_THREADS=1"
            mend = f"ask for {max(most, 1)} at most, or {other}" if most or scarce == "CPU" else other
            raise OptionValueError("--workers", f"{asked}, and the cluster has {there[scarce]} {scarce}s", mend)
        # Held here for as long as an actor may have to be started again.
        self._blob = ray.put(setup.path.read_bytes())
        # Ray restarts no actor by default, and gives a task of one up with it.
        gpus = {"num_gpus": 1} if far else {}
        kind = ray.remote(max_restarts=-1, max_task_retries=TRIES - 1, num_cpus=setup.threads, **gpus)(Holder)
        found = replace(setup, path=setup.path.resolve())
        self._actors = [kind.remote(found, self._blob, installed()) for _ in range(self.count)]
        self._free = list(self._actors)
        self._pool = ThreadPoolExecutor(self.count, thread_name_prefix="robspec-actor")
        if far:
            self._refuse_without()

    def _refuse_without(self) -> None:
        """Stop where an actor cannot use its GPU; what else keeps one from starting is said by its first batch."""
        try:
            lacks = [text for text in self._ray.get([actor.lacks.remote() for actor in self._actors]) if text]
        except self._ray.exceptions.RayError:
            return
        if lacks:
            self.close()
            what = f"{len(lacks)} of {self.count} actors cannot use the GPU that Ray gives them: {lacks[0]}"
            raise DeviceUnavailable(
                "--ray", what, "install a build of torch for its driver there, or say --device cpu"
            )

    def submit(self, task: Task, names: Sequence[str]) -> Future[Answer | None]:
        """Have a batch computed; see `Crew.submit`."""
        return self._pool.submit(self._call, task, tuple(names))

    def processes(self) -> tuple[int, ...]:
        """Process ids of the actors, on whatever machine they are."""
        return tuple(self._ray.get([actor.process.remote() for actor in self._actors]))

    def close(self) -> None:
        """End all actors, whatever they do, and the cluster where it was started here."""
        for actor in self._actors:
            with contextlib.suppress(Exception):  # one that has ended already, or a cluster that is gone
                self._ray.kill(actor)
        self._pool.shutdown(cancel_futures=True)
        if self._began:
            self._ray.shutdown()

    def _call(self, task: Task, names: tuple[str, ...]) -> Answer | None:
        actor = self._free.pop()
        try:
            blob: bytes = self._ray.get(actor.answer.remote(task))
        except self._ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines() or [repr(error)]
            what = f"the actor that had these images ended, {TRIES} times: {lines[0][:200]}"
            mend = "look into Ray's log for why, ask for fewer --workers, or check without --ray"
            if "creation task" in lines[0]:  # its own error stands last
                what = f"the actor that had these images could not begin: {lines[-1][:400]}"
                mend = "have on its machine what this one has, or check without --ray"
            raise WorkerLost(names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}", what, mend) from error
        finally:
            self._free.append(actor)
        return read(blob, task.tie(self._about)) if blob else None


def _connect(ray: Any, address: str) -> None:
    """Join a cluster, or start one on this machine, without dashboard and without reports of usage."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    quiet = {"log_to_driver": False, "logging_level": "error"}
    named = os.environ.get("RAY_ADDRESS", "auto") if address == "auto" else address
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        if named != "auto":
            _refuse_deaf(named)
            ray.init(address=named, **quiet)
            return
        try:
            ray.init(address=_nearby(), **quiet)
        except ConnectionError:
            # Ray guards a cluster by a token, which it would otherwise write into the home folder.
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            ray.init(address="local", include_dashboard=False, **quiet)
    except (ray.exceptions.RayError, RuntimeError, ValueError, OSError) as error:
        reason = str(error).strip().splitlines()
        raise NoCluster(
            "--ray",
            f"no cluster answers at {named[:80]}: {reason[0][:200] if reason else repr(error)}",
            "start one with `ray start --head`, correct the address, or write --ray auto",
        ) from error
    finally:
        # Ray ends the process at SIGTERM; what is finished would be lost.
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _nearby() -> str:
    """The address of a cluster of this machine that answers.

    Raises:
        ConnectionError: there is none. Ray would ask one that has just ended, but for a process of it, for minutes.
    """
    from ray._private.services import canonicalize_bootstrap_address

    address: str = canonicalize_bootstrap_address("auto")
    try:
        _refuse_deaf(address)
    except TimeoutError as error:
        raise ConnectionError(str(error)) from error
    return address


def _refuse_deaf(address: str) -> None:
    """Raise an OSError where nobody listens: Ray would ask for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise ValueError("an address is HOST:PORT")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=10.0):
        pass

"""Operator norms found by several threads before a proof asks for them, as they are independent of each other.

A rehearsal walks the graph, takes every norm for 1 and only notes which ones are asked for. Nothing else of it is
kept: the proof walks the graph itself, and asks for what was not foreseen as if there had been no rehearsal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context

import torch

from robspec.errors import RobspecError
from robspec.lipschitz import norms, watching
from robspec.lipschitz.stencil import Stencil
from robspec.semantics.norm import Norm


class _Desk:
    """Takes norms in and gives them out.

    Args:
        pool: where they are found.
    """

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.pool = pool
        self.rehearsing = True
        self.found: dict[bytes, Future[float]] = {}

    def norm(self, stencil: Stencil, norm: Norm) -> float:
        key = _key(stencil, norm)
        if self.rehearsing:
            if key not in self.found:
                self.found[key] = self.pool.submit(_find, stencil, norm)
            return 1.0
        known = self.found.get(key)
        return norms.operator_norm(stencil, norm) if known is None else known.result()


_desk: ContextVar[_Desk | None] = ContextVar("desk", default=None)


def operator_norm(stencil: Stencil, norm: Norm) -> float:
    """Bound the norm of a stencil: `norms.operator_norm`, perhaps found ahead.

    Args:
        stencil: the map.
        norm: r.

    Returns:
        An upper bound on the norm, rounded up.
    """
    desk = _desk.get()
    return norms.operator_norm(stencil, norm) if desk is None else desk.norm(stencil, norm)


@contextmanager
def ahead(rehearse: Callable[[], object], workers: int) -> Iterator[None]:
    """Have the norms that a walk will ask for found in threads, while the block makes the walk.

    Args:
        rehearse: the walk; its result and its errors are dropped.
        workers: how many threads; with one there is no rehearsal.
    """
    if workers < 2:
        yield
        return
    with ThreadPoolExecutor(workers, "robspec-norms", torch.set_num_threads, (1,)) as pool:
        desk = _Desk(pool)
        token = _desk.set(desk)
        try:
            copy_context().run(_rehearsed, rehearse)
            desk.rehearsing = False
            yield
        finally:
            _desk.reset(token)
            pool.shutdown(cancel_futures=True)


def _rehearsed(rehearse: Callable[[], object]) -> None:
    watching.unwatched()
    # With norms of 1 a quotient may be by 0; whatever is wrong in truth, the proof says.
    with suppress(RobspecError, ArithmeticError):
        rehearse()


def _find(stencil: Stencil, norm: Norm) -> float:
    with torch.no_grad():
        return norms.operator_norm(stencil, norm)


def _key(stencil: Stencil, norm: Norm) -> bytes:
    """Digest all that a norm depends on."""
    kernels = stencil.kernels.detach().contiguous()
    rest = {name: getattr(stencil, name) for name in stencil.__dataclass_fields__ if name != "kernels"}
    digest = hashlib.sha256(repr((norm, kernels.dtype, tuple(kernels.shape), sorted(rest.items()))).encode())
    digest.update(kernels.reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()

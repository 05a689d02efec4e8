"""Lets whoever waits for a proof see how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass
class Stage:
    """Where a proof is.

    Args:
        node: the value whose bound is computed now, and the operation behind it; empty before the first.
        done: how many values have their bound.
        total: how many there are so far.
    """

    node: str = ""
    done: int = 0
    total: int = 0


_watched: ContextVar[Stage | None] = ContextVar("watched", default=None)


@contextmanager
def watched() -> Iterator[Stage]:
    """Yield a stage that proofs inside the block keep up to date."""
    stage = Stage()
    token = _watched.set(stage)
    try:
        yield stage
    finally:
        _watched.reset(token)


def unwatched() -> None:
    """Keep what follows in this context to itself."""
    _watched.set(None)


def counted() -> None:
    """Say that there is one more value."""
    stage = _watched.get()
    if stage is not None:
        stage.total += 1


def begun(node: str, rule: str) -> None:
    """Say that a value's bound is being computed."""
    stage = _watched.get()
    if stage is not None:
        stage.node = f"{node} ({rule})"


def finished() -> None:
    """Say that a value has its bound."""
    stage = _watched.get()
    if stage is not None:
        stage.done += 1

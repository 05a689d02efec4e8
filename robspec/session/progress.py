"""How far a long step is, shown by whoever called for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

_T = TypeVar("_T")


class Progress(Protocol):
    """Runs work that reports how many steps it finished."""

    def __call__(self, work: Callable[[Callable[[float], None]], _T], total: int, title: str, /) -> _T:
        """Run it.

        Args:
            work: called with a function to be told of finished steps.
            total: number of steps.
            title: what they are called.

        Returns:
            What the work returns.
        """
        ...


def silent(work: Callable[[Callable[[float], None]], _T], _total: int, _title: str, /) -> _T:
    """Run work and show nothing."""
    return work(lambda _: None)


def quiet(_line: str, /) -> None:
    """Say nothing."""

"""Being asked to stop: SIGTERM is SIGINT, and what must not be cut in two is finished first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_holders: list[list[int]] = []
"""The signals that came since each `held` began, the outermost first."""
STATUS = 130
"""Exit status of a command that was stopped."""


class Said(KeyboardInterrupt):
    """A stop of which it was said already what is finished."""


@contextmanager
def as_interrupt() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt, unless whoever started the program has it ignored."""
    if not _main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def held() -> Iterator[Callable[[], bool]]:
    """Hold the first signal back; the second interrupts at once.

    Yields:
        Tells whether a signal has come.
    """
    came: list[int] = []
    if not _main_thread():
        yield lambda: False
        return

    def remember(number: int, _frame: FrameType | None) -> None:
        for holder in _holders:
            holder.append(number)
        if any(len(holder) > 1 for holder in _holders):
            raise KeyboardInterrupt

    _holders.append(came)
    # What is ignored stays ignored.
    before = {s: signal.getsignal(s) for s in _SIGNALS if callable(signal.getsignal(s))}
    for number in before:
        signal.signal(number, remember)
    try:
        yield lambda: bool(came)
    finally:
        _holders.pop()
        for number, handler in before.items():
            signal.signal(number, handler)


def _main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()

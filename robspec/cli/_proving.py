"""Shows, node by node, how far a proof is that takes long."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

_PATIENCE = 10.0
_EVERY = 0.25


def _to_terminal(line: str) -> None:
    if sys.stderr.isatty():
        click.echo(line, err=True)


@contextmanager
def proving(
    tell: Callable[[str], None] = _to_terminal, patience: float = _PATIENCE, every: float = _EVERY
) -> Iterator[None]:
    """Tell which node a proof inside the block is at, once it has taken longer than is polite to say nothing.

    Args:
        tell: takes a line; by default standard error, where that is a terminal.
        patience: seconds before the first line.
        every: seconds between two looks.
    """
    from robspec.lipschitz.watching import watched

    over = threading.Event()
    began = time.monotonic()
    with watched() as stage:

        def look() -> None:
            shown = ""
            while not over.wait(every):
                spent = time.monotonic() - began
                if spent >= patience and stage.node and stage.node != shown:
                    shown = stage.node
                    tell(f"proving: {stage.done} of {stage.total} values bounded in {spent:.0f} s, now {shown}")

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        except KeyboardInterrupt:
            if stage.node:
                tell(f"stopped: {stage.done} of {stage.total} values were bounded, the next was {stage.node}")
            raise
        finally:
            over.set()
            thread.join()

"""What a run learns from, and how the model that comes out is judged."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from robspec.data.dataset import Dataset
from robspec.models.lipnets.network import SegmentationNet


class Console(Protocol):
    """Where a run reports."""

    def bar(self, title: str, total: int) -> Any:
        """Open a progress bar: a context that gives a function to be told of finished steps."""
        ...

    def line(self, text: str) -> None:
        """Say one thing."""
        ...


class Printed:
    """A console for scripts: lines on standard output, and of bars what begins."""

    def line(self, text: str) -> None:
        """See `Console.line`."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """See `Console.bar`."""
        if total:
            self.line(f"{title}: {total}")
        yield lambda _: None


class Task(Protocol):
    """One kind of model: its data, what is certified while it trains, and what its archive is proved to do.

    Attributes:
        training: what is learned from.
        validation: what the model is judged by.
    """

    training: Dataset
    validation: tuple[Dataset, ...]

    def validated(self, network: SegmentationNet, epoch: int) -> dict[str, Any]:
        """Certify the watched metric with the design constant: an entry of the history, empty for a twin."""
        ...

    def proved(self, archive: Path, console: Console) -> dict[str, Any]:
        """Prove the constant of the exported archive and certify the validation set with it.

        Args:
            archive: just written; what else is written lies beside it.
            console: is told of progress.

        Returns:
            Entries of the model card: `lipschitz`, `metrics`, `images`, `notes`, `remarks`.
        """
        ...

    def told(self) -> Iterable[str]:
        """Say, at the end, what was written and how to check it again."""
        ...

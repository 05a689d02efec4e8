"""The first logits by numpy, what comes after them by compiled code: both give the same integers, bit by bit.

Loading compiled code takes as long as numpy takes over a few dozen images, and making it much longer.
"""

from __future__ import annotations

from importlib.util import find_spec

from robspec import arrays
from robspec.arrays import Array
from robspec.kernels.knapsack import Backend, LogitsBatch, OneClass, Prepared, array, cpu

_FEW = 1 << 26
"""So many logits, each counted as often as there are classes, are read by numpy: less than a second's work."""


_AT_ONCE = 1 << 24
"""So many logits of one batch, of which numpy keeps copies in double."""


class TieredBackend:
    """What `--backend auto` takes on a CPU; counts what this process has read so far."""

    name = "cpu"

    def __init__(self) -> None:
        self._read = 0

    def unavailable(self) -> str | None:
        """See `Backend.unavailable`: numba is not imported to find out."""
        return None if find_spec("numba") else cpu.BACKEND.unavailable()

    def prepare(self, batch: LogitsBatch) -> Prepared:
        """See `Backend.prepare`."""
        return self._next(batch.logits).prepare(batch)

    def prepare_class(self, batch: LogitsBatch) -> OneClass:
        """See `Backend.prepare_class`: where they were ranked, as they were."""
        compiled = batch.ranked is not None or batch.logits.shape[1] == 1
        return (self._next(batch.logits) if compiled else array.BACKEND).prepare_class(batch)

    def rank(self, logits: Array) -> object:
        """See `Backend.rank`: by compiled code, unless all classes together are few."""
        classes = logits.shape[1]
        return cpu.BACKEND.rank(logits) if self._next(logits, classes) is cpu.BACKEND else None

    def _next(self, logits: Array, times: int = 1) -> Backend:
        many = arrays.size(logits)
        self._read += many * logits.shape[1] * times
        return cpu.BACKEND if self._read > _FEW or many > _AT_ONCE else array.BACKEND


TIERED = TieredBackend()
"""The one of this process."""

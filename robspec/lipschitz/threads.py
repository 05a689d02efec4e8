"""How many threads a computation gets: small matrices are faster in one thread than in several."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_LARGE = 320
AVAILABLE = torch.get_num_threads()
"""How many threads torch had when the prover was imported."""


@contextmanager
def threads_for(size: int) -> Iterator[None]:
    """Run a block in one thread, or in all of them where matrices of this order are worth it.

    Args:
        size: the order of the matrices the block works on; 0 for graph work.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(AVAILABLE if size >= _LARGE else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

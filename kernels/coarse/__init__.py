"""The knapsack over cells: flips of pixels that a fixed up-sampling makes of the same few coarse logits.

Full-size logits z = U l move only as the coarse logits l do. Where every pixel of a cell is made of the same nodes,
the energy of these nodes that flips several of them need only be that of the dearest: a cell costs its largest item,
and cells that share no node share one budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from robspec.kernels.coarse.grid import Grid
from robspec.kernels.knapsack import IntArray, LogitsBatch
from robspec.kernels.knapsack.budget import Budget


class CoarsePrepared(Protocol):
    """A batch whose logits have been read, cell by cell.

    Attributes:
        backend: the name of the backend that holds it.
        pixels: pixels of one image.
        single: True for a single-logit head.
        items: int64[B], how many pixels can be flipped.
    """

    backend: str
    pixels: int
    single: bool
    items: IntArray

    def flips(self, budgets: Sequence[Budget]) -> IntArray:
        """Bound how many pixels each budget can flip.

        Args:
            budgets: M budgets made for this number of pixels, of the coarse logits in l2.

        Returns:
            int64[B, M]: an upper bound, the same integers on every backend, monotone in the budget.

        Source: RESOLUTION.md R1.
        """
        ...

    def flips_of(self, image: int, budget: Budget) -> int:
        """Bound how many pixels of one image a budget can flip; see `flips`."""
        ...


def prepare(backend: str, batch: LogitsBatch, grid: Grid) -> CoarsePrepared:
    """Read a batch for `Items.CORRECT` or `Items.PREDICTED`.

    Args:
        backend: "reference" for plain integers; any other name takes compiled code on the CPU.
        batch: full-size logits and labels.
        grid: how the full-size logits are made of the coarse ones.

    Raises:
        ValueError: the grid is of another size.
    """
    if tuple(batch.logits.shape[2:]) != grid.shape:
        raise ValueError(f"a grid of {grid.shape} pixels is not one of {tuple(batch.logits.shape[2:])}")
    if backend == "reference":
        from robspec.kernels.coarse.reference import ReferenceCoarse

        return ReferenceCoarse(batch, grid)
    from robspec.kernels.coarse.cpu import CpuCoarse

    return CpuCoarse(batch, grid)

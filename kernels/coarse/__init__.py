"""The knapsack over cells: flips of pixels that a fixed up-sampling makes of the same few coarse logits.

Full-size logits z = U l move only as the coarse logits l do. Where every pixel of a cell is made of the same nodes,
the energy of these nodes that flips several of them need only be that of the dearest: a cell costs its largest item,
and cells that share no node share one budget. Margins are computed from the coarse logits, a row of cells at a time:
full-size logits are never in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from robspec import arrays
from robspec.arrays import Array
from robspec.kernels.coarse.grid import Grid
from robspec.kernels.knapsack import BoolArray, IntArray, Items, Prepared
from robspec.kernels.knapsack.budget import Budget


@dataclass(frozen=True, slots=True)
class CoarseBatch:
    """A validated batch of coarse logits and full-size labels.

    Args:
        logits: [B, K, h, w], floating point, any strides, finite and below 2^500 in absolute value; K = 1 is a single
            logit with threshold 0.
        grid: how full-size logits are made of them.
        labels: int64 [B, H, W], or None when `items` needs none.
        items: `Items.CORRECT` or `Items.PREDICTED`.
        ignore: a label that is left out, or None.
    """

    logits: Array
    grid: Grid
    labels: Array | None
    items: Items
    ignore: int | None = None

    def __post_init__(self) -> None:
        shape, labels = tuple(self.logits.shape), self.labels
        if len(shape) != 4 or 0 in shape or shape[2:] != self.grid.sides:
            raise ValueError(f"a grid of {self.grid.sides} nodes is not one of logits {shape}")
        if labels is None and self.items is Items.PREDICTED:
            return
        if labels is None or arrays.kind(labels) != "int64" or tuple(labels.shape) != (shape[0], *self.grid.shape):
            raise ValueError(f"labels must be int64 {[shape[0], *self.grid.shape]}")


class CoarsePrepared(Protocol):
    """A batch whose coarse logits have been read, cell by cell.

    The full-size logits are U l, computed in double; margins are lessened by what that rounds (`Grid.slack`), so that
    they never exceed those of U l itself.

    Attributes:
        backend: the name of the backend that holds it.
        pixels: pixels of one image.
        single: True for a single-logit head.
        items: int64[B], how many pixels can be flipped.
        predicted: bool[B, K or 2], which classes are predicted somewhere.
    """

    backend: str
    pixels: int
    single: bool
    items: IntArray
    predicted: BoolArray

    @property
    def full(self) -> Prepared:
        """The same margins without a look at cells."""
        ...

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


def prepare(backend: str, batch: CoarseBatch) -> CoarsePrepared:
    """Read a batch.

    Args:
        backend: "reference" for plain integers; any other name takes compiled code on the CPU.
        batch: coarse logits and labels.
    """
    if backend == "reference":
        from robspec.kernels.coarse.reference import ReferenceCoarse

        return ReferenceCoarse(batch)
    from robspec.kernels.coarse.cpu import CpuCoarse

    return CpuCoarse(batch)


def to_compile(backend: str) -> bool:
    """Tell whether reading the first batch would compile code, which takes seconds.

    Args:
        backend: see `prepare`.
    """
    if backend == "reference":
        return False
    from robspec.kernels import _jit
    from robspec.kernels.coarse import _cells, _open

    return _jit.to_compile(_open.look, _open.survey, _open.unfold, _cells.choose)

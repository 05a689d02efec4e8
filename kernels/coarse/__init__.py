"""The knapsack over cells: flips of pixels that a fixed up-sampling makes of the same few coarse logits.

Full-size logits z = U l move only as the coarse logits l do. Where every pixel of a cell is made of the same nodes,
the energy of these nodes that flips several of them need only be that of the dearest: a cell costs its largest item,
and cells that share no node share one budget. Margins are computed from the coarse logits, a row of cells at a time:
full-size logits are never in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, cast

from robspec import arrays
from robspec.arrays import Array
from robspec.kernels.coarse.grid import Grid
from robspec.kernels.coarse.shares import Reached, Shared
from robspec.kernels.knapsack import BoolArray, FloatArray, IntArray, Items, Prepared
from robspec.kernels.knapsack.budget import Budget

Keep: TypeAlias = Callable[[FloatArray], Callable[[], FloatArray]]


@dataclass(frozen=True, slots=True)
class CoarseBatch:
    """A validated batch of coarse logits and full-size labels.

    Args:
        logits: [B, K, h, w], floating point, any strides, finite; they, and what the grid makes of them (`enlarged`),
            at most 2^500 in absolute value. K = 1 is a single logit with threshold 0.
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


@dataclass(frozen=True, slots=True)
class ClassBatch:
    """A validated batch of coarse logits and full-size labels, read for one class set.

    Args:
        logits: as in `CoarseBatch`.
        grid: as there.
        labels: int64 [B, H, W]; what is no class is left out.
        inside: the classes of the set, some and not all; of a single logit 0 or 1.
    """

    logits: Array
    grid: Grid
    labels: Array
    inside: tuple[int, ...]

    def __post_init__(self) -> None:
        CoarseBatch(self.logits, self.grid, self.labels, Items.CORRECT)
        if not 0 < len(set(self.inside) & set(range(self.classes))) < self.classes:
            raise ValueError(f"some classes of {self.classes}, and not all, make a set: {self.inside}")

    @property
    def classes(self) -> int:
        """Number of classes, 2 for a single logit."""
        return max(int(self.logits.shape[1]), 2)


class CoarsePrepared(Protocol):
    """A batch whose coarse logits have been read, cell by cell.

    The full-size logits are U l, computed in double; margins are lessened by what that rounds (`Grid.slack`), so that
    they never exceed those of U l itself.

    Attributes:
        backend: the name of the backend that holds it.
        pixels: pixels of one image.
        single: True for a single-logit head.
        grid: what pixels are made of.
        items: int64[B], how many pixels can be flipped.
        predicted: bool[B, K or 2], which classes are predicted somewhere.
    """

    backend: str
    pixels: int
    single: bool
    grid: Grid
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

    def reached(self, image: int, budget: Budget) -> Reached:
        """List the items of one image that a budget could pay for by itself.

        Args:
            image: which one.
            budget: of the coarse logits in l2, with exponent 2.
        """
        ...

    def shared(self, reached: Reached, parts: IntArray, top: Budget) -> Shared:
        """Price items at given parts of their nodes.

        Args:
            reached: as `reached` gives them.
            parts: as `shares.divided` gives them.
            top: the budget that they were looked for with.
        """
        ...


class CoarseClass(Protocol):
    """A batch whose coarse logits have been read for one class set, cell by cell.

    True positives can leave the set and true negatives enter it. Margins are lessened as those of `CoarsePrepared`,
    and entering is priced by the pair bound: the set has to come level with what is predicted.

    Attributes:
        pixels: pixels of one image.
        single: True for a single-logit head.
        colours: in how many classes the cells fall, each of cells that share no node.
        counts: int64 [B, 4], TP, FP, FN and TN as they are in doubles.
    """

    pixels: int
    single: bool
    colours: int
    counts: IntArray

    def given_up(self, image: int, budget: Budget, leave: IntArray, enter: IntArray) -> IntArray:
        """Add up what the cells of each colour give up at prices for the flips of both kinds.

        With the energy of its k-th cheapest item a cell gives up all items that are as cheap, whichever their kind.
        It does so where that is worth most, less what it costs: the cheapest of what is worth as much.

        Args:
            image: which one.
            budget: of the coarse logits in l2; items above its limit are out of reach.
            leave: int64 [colours], what a pixel that leaves is worth, in grid units, at most the limit and 1.
            enter: int64 [colours], what one that enters is worth.

        Returns:
            int64 [4, colours]: worth less cost, cost, leaves, enters. The same integers on every backend.

        Source: RESOLUTION.md R1.
        """
        ...

    def stored(self, image: int, largest: Budget | None, keep: Keep) -> Callable[[], CoarseClass]:
        """Put what is read of one image aside, so that it is not in memory while others are looked at.

        Args:
            image: which one.
            largest: the largest budget that will be asked, None where that is not known.
            keep: puts an array of float64 aside, and gives what reads it again.

        Returns:
            What reads the image again, as the only one of its batch.
        """
        ...


def prepare_class(backend: str, batch: ClassBatch) -> CoarseClass:
    """Read a batch for one class set; see `prepare`."""
    if backend == "reference":
        from robspec.kernels.coarse.reference import ReferenceClass

        return ReferenceClass(batch)
    from robspec.kernels.coarse.classes import ArrayClass

    return ArrayClass(batch)


def prepare(backend: str, batch: CoarseBatch) -> CoarsePrepared:
    """Read a batch.

    Args:
        backend: "reference" for plain integers, "triton" for a GPU, unless cells are too large for one program each;
            any other name takes compiled code on the CPU.
        batch: coarse logits and labels.
    """
    if backend == "reference":
        from robspec.kernels.coarse.reference import ReferenceCoarse

        return ReferenceCoarse(batch)
    if backend == "triton":
        from robspec.kernels.coarse.triton import TritonCoarse, within_reach

        if within_reach(batch.grid):
            # What waits for the device are properties.
            return cast("CoarsePrepared", TritonCoarse(batch))
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
    from robspec.kernels.coarse import _cells, _open, _shares

    if backend == "triton":
        return _jit.to_compile(_cells.between, _shares.divide)
    return _jit.to_compile(_open.look, _open.survey, _open.unfold, _cells.choose, _shares.divide)

"""The knapsack over pixels: one contract, several backends that answer it with the same integers.

A backend reads a batch of logits once and keeps one 8-byte number per pixel: the margin an attack must close to flip
that pixel. From the margins it answers, exactly and identically on every backend, how many pixels one shared budget
can flip, and how large the budget must be to flip a given number.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from robspec import arrays, registry
from robspec.arrays import Array
from robspec.kernels.knapsack.budget import Budget

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class Items(enum.Enum):
    """Which pixels can be flipped, and out of which class."""

    CORRECT = "correct"
    """Pixels predicted as labelled; flipping one makes it wrong (pixel accuracy)."""
    PREDICTED = "predicted"
    """Every pixel (every labelled one when labels are given); flipping one changes its prediction (stability)."""
    CLASS = "class"
    """The confusion matrix of a class set: true positives can leave it, true negatives can enter it."""


class Prepared(Protocol):
    """A batch whose logits have been read.

    Attributes:
        backend: the name of the backend that holds it.
        finite: bool[B], False where an image's logits hold a NaN or an infinity; its other answers mean nothing.
        items: int64[B], how many pixels can be flipped.
        valid: int64[B], how many pixels count (the denominator of the metric).
        pixels: pixels of one image.
        single: True for a single-logit head.
    """

    backend: str
    pixels: int
    single: bool

    @property
    def finite(self) -> BoolArray:
        """See above, like the next two."""
        ...

    @property
    def items(self) -> IntArray:
        """See above."""
        ...

    @property
    def valid(self) -> IntArray:
        """See above."""
        ...

    def flips(self, budgets: Sequence[Budget]) -> IntArray:
        """Count the pixels each budget can flip at most.

        Args:
            budgets: M budgets made for this number of pixels.

        Returns:
            int64[B, M]: an upper bound, exact up to the stated roundings, monotone in the budget.
        """
        ...

    def radii(self, flips: IntArray, constant: Fraction, norm: Fraction | None) -> FloatArray:
        """Find how large a ball certifies that fewer than a number of pixels flip.

        Args:
            flips: int64[B, T], the number of flips to be prevented; 0 or less means none can be prevented.
            constant: Lipschitz constant, already rounded up.
            norm: exponent q of the logits' norm, None for infinity.

        Returns:
            float64[B, T]: the largest double eps whose budget query allows fewer than `flips` flips; 0.0 where no
            positive eps does (or flips <= 0), infinity where the image has too few items.
        """
        ...


class OneClass(Protocol):
    """A batch read for one class set.

    Attributes:
        backend: the name of the backend that holds it.
        finite: bool[B], as in `Prepared`.
        tp: int64[B], pixels labelled and predicted inside the set.
        fp: int64[B], pixels predicted inside and labelled outside.
        fn: int64[B], pixels labelled inside and predicted outside.
        tn: int64[B], pixels labelled and predicted outside.
        pixels: pixels of one image.
        single: True for a single-logit head.
        leave_squared: whether leave items are squared distances rather than margins.
        enter_squared: whether enter items are squared distances rather than margins.
    """

    backend: str
    finite: npt.NDArray[np.bool_]
    tp: IntArray
    fp: IntArray
    fn: IntArray
    tn: IntArray
    pixels: int
    single: bool
    leave_squared: bool
    enter_squared: bool

    def lists(
        self, image: int, leave: Budget | None = None, enter: Budget | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Give an image's leave and enter items, each ascending, float64, margins or squared distances.

        Args:
            image: its index.
            leave: the largest budget that will be asked of the leave items; None for any.
            enter: the same for the enter items.

        Returns:
            Leave items, enter items. The dearest may be left out, as long as those given cost more than the budget
            together (where items flip on their own: all that one budget flips are given).
        """
        ...


@runtime_checkable
class Windowed(Protocol):
    """A `OneClass` that answers some questions about quotients without making its lists."""

    def least_quotient(
        self, image: int, leave: Budget, enter: Budget, used: tuple[bool, bool], above: IntArray, below: IntArray
    ) -> tuple[int, int] | None:
        """Find the least quotient of two sums of counts over every affordable pair of flips, exactly.

        Args:
            image: its index.
            leave: the budget in units of leave items.
            enter: the same budget in units of enter items.
            used: whether the quotient depends on leave and on enter items; those it does not are never flipped.
            above: [4], coefficients of TP, FP, FN, TN in the numerator, small enough for `worst_quotient`.
            below: [4], of the denominator; the quotient falls, or stays, with either kind of flip.

        Returns:
            Numerator and positive denominator; None where it is not known without the lists.

        Source: MATH.md section 3.C.
        """
        ...


class Backend(Protocol):
    """One implementation of the contract.

    Attributes:
        name: how reports and `--backend` call it.
    """

    name: str

    def unavailable(self) -> str | None:
        """Say why this backend cannot run here, or None when it can."""
        ...

    def prepare(self, batch: LogitsBatch) -> Prepared:
        """Read a batch of logits once, for `Items.CORRECT` or `Items.PREDICTED`."""
        ...

    def prepare_class(self, batch: LogitsBatch) -> OneClass:
        """Read a batch of logits once, for `Items.CLASS`."""
        ...

    def rank(self, logits: Array) -> object:
        """Read logits once for every class: what `LogitsBatch.ranked` takes, None where it would not help."""
        ...


@dataclass(frozen=True, slots=True)
class LogitsBatch:
    """A validated batch of logits and labels.

    Args:
        logits: [B, K, H, W], float16, bfloat16, float32 or float64, any strides; K = 1 is a single logit with
            threshold 0 (class 1 where it is above 0).
        labels: int64 [B, H, W] on the same device, or None when `items` needs none.
        items: what can be flipped.
        ignore: a label that is left out, or None.
        inside: for `Items.CLASS`, the classes of the set: not none, not all; a single logit has classes 0 and 1.
        water: for `Items.CLASS`, True to price items in squared l2 distance by water filling where that is exact
            and margins are not.
        share: for `Items.CLASS`, the part of each cost that is charged; other than 1, every item is a cost (squared
            distances with `water`, margins without) times it.
        whole_when_wrong: charge true negatives in full where the label's logit is not the largest.
        ranked: what the backend's `rank` said of these logits, to share it between classes, or None.
    """

    logits: Array
    labels: Array | None
    items: Items
    ignore: int | None = None
    inside: tuple[int, ...] = ()
    water: bool = False
    share: float = 1.0
    whole_when_wrong: bool = False
    ranked: object = None

    def __post_init__(self) -> None:
        floats = ("float16", "bfloat16", "float32", "float64")
        if len(self.logits.shape) != 4 or arrays.kind(self.logits) not in floats or 0 in self.logits.shape:
            raise ValueError(f"logits must be a non-empty float [B, K, H, W], not {tuple(self.logits.shape)}")
        if self.items is Items.PREDICTED and self.labels is None:
            return
        b, k, h, w = self.logits.shape
        if self.items is Items.CLASS and not (set() < set(self.inside) < set(range(max(k, 2)))):
            raise ValueError(f"the class set {self.inside} must hold some but not all of {max(k, 2)} classes")
        if self.labels is None or self.labels.shape != (b, h, w) or arrays.kind(self.labels) != "int64":
            raise ValueError("labels must be int64 [B, H, W], matching the logits")
        if isinstance(self.labels, np.ndarray) != isinstance(self.logits, np.ndarray):
            raise ValueError("labels and logits must be both arrays or both tensors")
        if self.labels.device != self.logits.device:
            raise ValueError("labels and logits must be on one device")


def squared_lists(batch: LogitsBatch) -> tuple[bool, bool]:
    """Tell whether the leave and the enter items of a class batch are squared distances."""
    if batch.logits.shape[1] == 1:
        squared = batch.water and batch.share != 1.0
        return squared, squared
    return batch.water and (len(batch.inside) > 1 or batch.share != 1.0), batch.water


def backends() -> dict[str, Backend]:
    """Find every backend of this package by its module, importing each.

    Returns:
        Backends by name; an unavailable one is listed too and says why.
    """
    found: dict[str, Backend] = {}
    for module in registry.modules(sys.modules[__name__]):
        backend: Backend | None = getattr(module, "BACKEND", None)
        if backend is not None:
            found[backend.name] = backend
    return found

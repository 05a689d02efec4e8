"""Large images of two classes, read when a budget is known: of a pixel nothing is kept but what the budget decides.

How far a budget reaches is guessed from some pixels. One pass adds up, in integers, what lies surely below that, and
copies the margins near it; these are searched. Whether the guess was right is seen from the answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from robspec.kernels._threads import share
from robspec.kernels.knapsack import FloatArray, IntArray, LogitsBatch, _views
from robspec.kernels.knapsack._views import NO_LABEL, label_view, numpy_view
from robspec.kernels.knapsack.budget import Budget, costs

AnyArray: TypeAlias = npt.NDArray[Any]
LARGE = 2**19
"""Images of more pixels than this are read when a budget is known."""
LARGE_CLASS = 2**17
"""The same of one class, whose lists cost more to make."""
BEYOND = 0x7FF0_0000_0000_0001
"""The bit pattern after that of every margin, which is that of infinity."""
PASSES = 4
"""After so many passes over an image it is read in full: one more budget then costs next to nothing."""
_SAMPLE = 2**15
"""About so many pixels are looked at for a guess."""
_SURE = 5.0
"""Errors of a guess, as the number of sampled items below it has them, on either side of a window."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What one pass found of a list of items.

    Args:
        count: items below the window.
        cost: what they cost together.
        inside: the margins in the window, ascending.
        low: bit pattern of the least margin a window holds.
        high: that of the first margin beyond it.
    """

    count: int
    cost: int
    inside: FloatArray
    low: int
    high: int


class Pair:
    """Logits of two classes, or of one against 0, and their labels.

    Args:
        batch: K is 1 or 2.
    """

    def __init__(self, batch: LogitsBatch) -> None:
        b, _, h, w = batch.logits.shape
        self.shape, self.pixels = (b, h, w), h * w
        self.z, self.widen = numpy_view(batch.logits)
        self.labels: IntArray = label_view(batch.labels, b, self.pixels)
        self.ignore = NO_LABEL if batch.ignore is None else batch.ignore

    def sample(self, image: int, k: int) -> tuple[tuple[FloatArray, ...], float]:
        """Look at pixels of a lattice.

        Args:
            image: its index.
            k: as in `_two.windows`.

        Returns:
            Ascending margins of each list, and how many pixels each stands for.
        """
        from robspec.kernels.knapsack import _two

        _, h, w = self.shape
        step = max(round(math.sqrt(self.pixels / _SAMPLE)), 1)
        rows, columns = step | 1, (step | 1) + 2
        planes = [np.ascontiguousarray(plane[::rows, ::columns]).reshape(-1) for plane in self.z[image]]
        if self.z.dtype == np.uint16:
            planes = [self.widen[plane] for plane in planes]
        if len(planes) == 1:
            planes.insert(0, np.zeros_like(planes[0]))
        labels = self.labels[image]
        if labels.size:
            labels = np.ascontiguousarray(labels.reshape(h, w)[::rows, ::columns]).reshape(-1)
        margins = np.empty(planes[0].size)
        if k < 0:
            _two.list_all(planes[0], planes[1], labels, self.ignore, k == _two.ANY, margins)
            lists: tuple[FloatArray, ...] = (margins[margins >= 0],)
        else:
            _two.list_class(planes[0], planes[1], labels, self.ignore, k, margins)
            enters = np.signbit(margins)
            lists = margins[~enters & (margins >= 0)], -margins[enters & (margins <= 0)]
        return tuple(np.sort(some) for some in lists), self.pixels / len(margins)

    def look(
        self, image: int, k: int, windows: list[tuple[int, int]], budgets: list[Budget], *, squared: bool = False
    ) -> tuple[tuple[Looked, ...], IntArray]:
        """Read an image once.

        Args:
            image: its index.
            k: as in `_two.windows`.
            windows: of each list the bit pattern of the least margin inside and of the first beyond; a window begins
                at 0 where what it was to begin with cannot be bought alone.
            budgets: of each list, with exponents 1 or 2 and one limit.
            squared: as there.

        Returns:
            What was found of each list; items, valid pixels, chunks that are not finite, as there.
        """
        from robspec.kernels.knapsack import _two

        lists, workers = len(windows), _views.workers(self.pixels, _two.CHUNK)
        # As much as margins would take, and of that only what is written to.
        room = np.empty((workers, -(-self.pixels // (workers * _two.CHUNK)) * _two.CHUNK))
        sums, counts = np.empty((workers, lists, 2), dtype=np.int64), np.empty((workers, 4), dtype=np.int64)
        low, high = np.array(windows, dtype=np.int64).T.copy()
        for j, budget in enumerate(budgets):
            # Of what is added up every item costs no more than the budget: no sum overflows, none is cut off.
            edge = np.minimum(low[j : j + 1], BEYOND - 1).view(np.float64)
            if not budget.scale or int(costs(water(edge) if squared and j else edge, budget)[0]) > budget.limit:
                low[j] = 0
        prices = (squared, np.array([x.exponent for x in budgets]), np.array([x.scale for x in budgets]))
        places = (image, k, low, high, *prices, room, sums, counts)
        share(_two.windows, workers, self.z, self.widen, self.labels, self.ignore, *places)
        copied = np.concatenate([mine[:n] for mine, n in zip(room, counts[:, 0].tolist(), strict=True)])
        found = []
        for j, (count, cost) in enumerate(sums.sum(axis=0).tolist()):
            mine = -copied if j else copied
            bits = mine.view(np.int64)
            inside = mine[(bits >= low[j]) & (bits < high[j])]
            inside.sort()
            found.append(Looked(count, cost, inside, int(low[j]), int(high[j])))
        return tuple(found), counts[:, 1:].sum(axis=0)


def around(ascending: FloatArray, stands_for: float, budget: Budget) -> tuple[int, int]:
    """Guess from a sample between which margins a budget ends.

    Args:
        ascending: sampled margins.
        stands_for: pixels for each of them.
        budget: with exponent 1 or 2.

    Returns:
        Bit patterns of a window.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        spent = np.cumsum(ascending**budget.exponent * budget.scale) * stands_for
    error = spread(int(np.searchsorted(spent, budget.limit)))
    first = int(np.searchsorted(spent, budget.limit * (1 - error)))
    last = int(np.searchsorted(spent, budget.limit * (1 + error), side="right")) + 1
    low = float(ascending[first - 1]) if first else 0.0
    return bits(low), bits(float(ascending[last])) if last < len(ascending) else BEYOND


def spread(count: int) -> float:
    """How far a sum over so many sampled items may be off, relatively; nothing follows from it but speed."""
    return _SURE / math.sqrt(count + 1)


def bits(value: float) -> int:
    """Order-preserving integer of a margin."""
    return int(np.float64(abs(value)).view(np.int64)) if value < math.inf else BEYOND


def water(margins: FloatArray) -> FloatArray:
    """Squared distances of margins by water filling, the bits that `_two.entering` gives.

    Args:
        margins: not negative.
    """
    from robspec.kernels.knapsack._classes import SAFE

    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        level = margins * 0.5
        over = margins - level
        found: FloatArray = (level * level + np.where(margins > level, over * over, 0.0)) * SAFE
    return found

"""Metrics that count pixels which leave, by the exact margins of U l: by themselves, and cell by cell."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from robspec.ir.plans import Accuracy, Rate
from robspec.ir.types import Degraded, Metric
from robspec.oracle.scene import IntArray, Scene, counts, ratio_value
from robspec.recheck import cell_prices
from robspec.recheck.budget import budget_of
from robspec.recheck.cell_claims import energy_of, read_prices, written_prices
from robspec.recheck.cells import Asked, Cells, Prices
from robspec.recheck.claims import rational
from robspec.recheck.conditions import meets
from robspec.recheck.document import differences
from robspec.recheck.exact import Priced
from robspec.recheck.parted import Parts, parted
from robspec.recheck.sight import Sight
from robspec.recheck.whole import ObjectArray
from robspec.semantics.constant import Constant
from robspec.semantics.norm import exact_text


class CountBook:
    """What flips of one image cost, and what each number of them makes of the metric.

    Args:
        metric: one whose flips are counted.
        scene: the annotation; its logits are not looked at.
        sight: the coarse logits.
    """

    def __init__(self, metric: Metric, scene: Scene, sight: Sight) -> None:
        self.metric, self._sight = metric, sight
        seen, (first, second) = scene.counted(metric), sight.order()
        plan, self._total = metric.plan, int(seen.sum())
        self._cells_of: tuple[int, int, int, int] | None = None
        mine = seen
        if isinstance(plan, Rate):
            mine = seen & (scene.labels == plan.classes[0])
            self._cells_of = counts(scene.labels[seen], first[seen], plan.classes)
        judged = isinstance(plan, Rate | Accuracy)
        right = mine & (first == scene.labels) if judged else mine
        items = np.flatnonzero(right)
        gaps = self._gaps(items, first, second)
        self.items = len(items)
        self._pixels, self._ahead = items, gaps
        self.cells = Cells.of(sight, gaps, items, np.zeros(len(items), np.bool_))
        priced = Priced(tuple(sorted((gaps * gaps).tolist())), sight.unit**2 / (1 if sight.single else 2))
        self._unit, self._sums = priced.unit, priced.prefixes(priced.unit, shared=True)
        self.digests = (priced.digest(),)
        wrong = np.flatnonzero(mine & ~right)
        self._behind = sorted(self._gaps(wrong, first, second).tolist())
        self.clean = self.after(0) if self._defined else None

    def parted(self, budget: Fraction, parts: Parts) -> Cells:
        """Price items at given parts of their nodes; see `parted`."""
        return parted(self._sight, self._ahead, self._pixels, budget, parts)

    def _gaps(self, pixels: IntArray, first: IntArray, second: IntArray) -> ObjectArray:
        if self._sight.single:
            found: ObjectArray = np.abs(self._sight.gaps(pixels, np.zeros_like(pixels)))
            return found
        return self._sight.gaps(pixels, first[pixels], second[pixels])

    @property
    def _defined(self) -> bool:
        return bool(self._total) if self._cells_of is None else ratio_value(self.metric, self._cells_of) is not None

    def after(self, flips: int) -> Fraction:
        """The metric after so many flips; fewer than none where some are right that are not."""
        if self._cells_of is None:
            return Fraction(self.items - flips, self._total)
        tp, fp, fn, tn = self._cells_of
        found = ratio_value(self.metric, (tp - flips, fp, fn + flips, tn))
        if found is None:
            raise ValueError("undefined after a flip")
        return found

    def best(self, delta: Fraction) -> Fraction | None:
        """What the clean image is worth over the reals at most, delta bounding the l2 norm of the logits' error."""
        if self.clean is None:
            return None
        near = delta * (1 if self._sight.single else 2) / self._sight.unit
        return self.after(-bisect_right(self._behind, math.floor(near)))

    def flips(self, budget: Fraction) -> int:
        """The most flips that a budget pays for, wherever they are."""
        return bisect_right(self._sums, math.floor(budget / self._unit)) - 1

    def cost(self, flips: int) -> Fraction:
        """What the cheapest flips cost together."""
        return self._sums[flips] * self._unit

    def least(self, wanted: Callable[[Fraction], bool]) -> int | None:
        """The fewest flips that make something true of the metric, which stays true; None where none do."""
        if not wanted(self.after(self.items)):
            return None
        low, high = -1, self.items
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if wanted(self.after(middle)) else (middle, high)
        return high

    def point(self, eps: Fraction, constant: Constant) -> dict[str, Any] | CountPoint:
        """What holds within a budget."""
        if self.clean is None:
            budget = exact_text(budget_of(eps, constant))
            return dict.fromkeys(("cut", "spent", "cells", "flips", "certified")) | {"budget": budget}
        return CountPoint(self, constant, eps, None)

    def reach(self, objective: Degraded, constant: Constant) -> dict[str, Any] | CountPoint:
        """What holds of a radius."""
        if self.clean is None:
            return dict.fromkeys(("budget", "cut", "needs", "cells", "certified"))
        return CountPoint(self, constant, None, objective)


@dataclass(frozen=True, slots=True)
class _At:
    """What cells are asked at: prices of energy, and parts of nodes where all cells have one budget together."""

    prices: Prices
    parts: Parts | None = None


@dataclass(frozen=True, slots=True)
class CountPoint:
    """A number of flips, or a radius: by themselves, or by cells at the prices written beside it.

    Args:
        book: the image.
        constant: of the property.
        eps: the budget; None for a radius.
        objective: that the radius must keep from being met; None for a budget.
    """

    book: CountBook
    constant: Constant
    eps: Fraction | None
    objective: Degraded | None

    def holds(self, written: object) -> bool:
        """See `Claim`."""
        if not isinstance(written, dict):
            return False
        asked, cells = None, written.get("cells")
        if cells is not None:
            asked = self._asked(cells) if isinstance(cells, dict) else None
            if asked is None:
                return False
        made = self._made(rational(written.get("certified")), written.get("flips"), asked)
        return made is not None and not any(differences(written, made))

    def _asked(self, cells: dict[str, Any]) -> _At | None:
        """Read the prices, and parts if there are some, that cells are asked at."""
        lattice = self.book.cells.lattice
        if "parts" not in cells:
            prices = read_prices(cells.get("prices"), lattice)
            return None if prices is None else _At(prices)
        parts = Parts.read(cells["parts"], lattice)
        written = cells.get("prices")
        price = rational(written[0]) if isinstance(written, list) and len(written) == 1 else None
        if parts is None or not isinstance(price, Fraction) or price < 0:
            return None
        return _At(Prices((price,)), parts)

    def filled(self, found: Fraction | float, parts: Callable[[], Parts | None] | None = None) -> dict[str, Any]:
        """The point as a certificate writes it; empty where what was certified does not hold.

        Args:
            found: what is certified.
            parts: gives what cells may have of their nodes, where the check knows such parts.
        """
        flips = None
        if self.objective is None:
            sign = -1 if self.book.metric.lower_is_better else 1
            flips = self.book.least(lambda value: sign * value <= sign * found)
        made = self._made(found, flips, None)
        for exact in (False, True):
            made = made or self._made(found, flips, self._at(found, None, exact=exact))
        known = None if made or parts is None else parts()
        for exact in (False, True):
            if known is not None and self._energy(found):
                made = made or self._made(found, flips, self._at(found, known, exact=exact))
        return made or {}

    def _at(self, found: Fraction | float, parts: Parts | None, *, exact: bool) -> _At:
        asked = Asked(self._energy(found))
        cells = self.book.cells if parts is None else self.book.parted(asked.budget, parts)
        reach = cells.within(asked.budget)
        prices = cell_prices.best(reach, asked).prices if exact else cell_prices.near(reach, asked)
        return _At(prices, parts)

    def _energy(self, found: Fraction | float) -> Fraction:
        # Where coarse logits do not move, a budget is as good as any other.
        eps = found if self.eps is None else self.eps
        return energy_of(eps if isinstance(eps, Fraction) else Fraction(0), self.constant)

    def _made(self, found: Fraction | float | None, flips: object, at: _At | None) -> dict[str, Any] | None:
        """The point that says so, None where it does not hold."""
        if found is None:
            return None
        if self.objective is not None:
            return self._radius(found, self.objective, at)
        if type(flips) is not int or not 0 <= flips <= self.book.items or self.eps is None:
            return None
        budget = budget_of(self.eps, self.constant)
        alone, cells = self.book.flips(budget), self._by_cells(found, at)
        if flips < min(alone, alone if cells is None else cells["flips"]) or self.book.after(flips) != found:
            return None
        return {
            "budget": exact_text(budget),
            "cut": [alone, 0],
            "spent": exact_text(self.book.cost(alone)),
            "cells": cells,
            "flips": flips,
            "certified": exact_text(found),
        }

    def _radius(self, found: Fraction | float, objective: Degraded, at: _At | None) -> dict[str, Any] | None:
        clean = self.book.clean
        needed = self.book.least(lambda value: clean is not None and meets(objective, clean, value))
        if found < 0 or (at is not None and (needed is None or not found)):
            return None
        cells = self._by_cells(found, at)
        budget = budget_of(found, self.constant) if isinstance(found, Fraction) and found else None
        if needed is not None and found:
            known = [] if cells is None else [cells["flips"]]
            if budget is not None:
                known.append(self.book.flips(budget))
            elif cells is None and not self.constant.value:
                known.append(self.book.flips(budget_of(Fraction(0), self.constant)))
            elif self.constant.coarse != 0:
                return None
            if not known or min(known) >= needed:
                return None
        return {
            "budget": None if budget is None else exact_text(budget),
            "cut": None if needed is None else [needed, 0],
            "needs": "inf" if needed is None else exact_text(self.book.cost(needed)),
            "cells": cells,
            "certified": exact_text(found),
        }

    def _by_cells(self, found: Fraction | float, at: _At | None) -> dict[str, Any] | None:
        if at is None:
            return None
        asked = Asked(self._energy(found))
        if at.parts is not None and not asked.budget:
            return None
        cells = self.book.cells if at.parts is None else self.book.parted(asked.budget, at.parts)
        bounds = cells.bounds(asked, at.prices)
        shown = {
            "budget": exact_text(asked.budget),
            "prices": written_prices(at.prices, self.book.cells.lattice),
            "bound": exact_text(sum(bounds, Fraction(0))),
            # Of each colour a whole number flips.
            "flips": sum(map(math.floor, bounds)),
        }
        return shown if at.parts is None else {**shown, "parts": at.parts.written()}

    def __str__(self) -> str:
        return "flips that follow from exact costs, or from the prices of cells"

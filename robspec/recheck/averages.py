"""Averages over classes that share a budget: the written price and spends, evaluated exactly (MATH.md 3.D)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from typing import Any

from robspec.ir.plans import Sum
from robspec.ir.types import Degraded, Metric
from robspec.oracle.scene import Scene, averaged, value
from robspec.recheck.claims import Between, Claim, rational
from robspec.recheck.conditions import meets
from robspec.recheck.image import Ledger
from robspec.recheck.relaxed import Relaxed
from robspec.semantics.constant import Constant
from robspec.semantics.norm import exact_text

ROOM = Fraction(1, 2**36)
"""What evaluating the bound in doubles may take off it, relative to the values."""
MOST_SPENDS = 128
"""Nearly twice what a bound stands on; each is evaluated anew."""


@dataclass(frozen=True, slots=True)
class Relaxation:
    """A price, and the spends between which each part is taken at its worst; any numbers give a bound.

    Args:
        price: of a unit, at least 0.
        unit: in ||a||_q^q, above 0.
        spends: of each part, strictly ascending units, 0 first.
    """

    price: Fraction
    unit: Fraction
    spends: tuple[tuple[int, ...], ...]

    def written(self) -> dict[str, Any]:
        """As a certificate writes it."""
        return {
            "price": exact_text(self.price),
            "unit": exact_text(self.unit),
            "spends": [list(row) for row in self.spends],
        }

    @staticmethod
    def read(point: dict[str, Any], parts: int) -> Relaxation | None:
        """Read what `written` writes; None for anything else."""
        price, unit, rows = rational(point.get("price")), rational(point.get("unit")), point.get("spends")
        if not isinstance(price, Fraction) or not isinstance(unit, Fraction) or price < 0 or unit <= 0:
            return None
        if not isinstance(rows, list) or len(rows) != parts:
            return None
        for row in rows:
            if not isinstance(row, list) or not 1 <= len(row) <= MOST_SPENDS:
                return None
            if not all(type(s) is int and s < 2**63 for s in row) or row[0] != 0:
                return None
            if any(a >= b for a, b in itertools.pairwise(row)):
                return None
        return Relaxation(price, unit, tuple(tuple(row) for row in rows))


class AverageBook(Relaxed):
    """The parts of an average on one image.

    Args:
        metric: of the macro family.
        scene: the image.
    """

    def __init__(self, metric: Metric, scene: Scene) -> None:
        super().__init__(metric, scene)
        self.clean = value(metric, scene, scene.predicted)
        asked = [part for _, part in _parts(metric, scene)]
        sets = [set(part.classes) for part in asked]
        disjoint = not any(a & b for a, b in itertools.combinations(sets, 2))
        shared = scene.q is not None
        share = Fraction(1)
        if shared and len(asked) > 1:
            share = Fraction(1, 2) if disjoint else Fraction(1, len(asked))
        # Where the prediction is wrong and each set is one class, only the class entered changes.
        wrong = scene.predicted != scene.labels if shared and disjoint and all(len(s) == 1 for s in sets) else None
        found = _parts(metric, scene, defined=True) if self.clean is not None else []
        self.parts = [(w, Ledger(part, scene, share=share, whole=wrong)) for w, part in found]
        self._sign = -1 if metric.lower_is_better else 1
        # No lru_cache of a method: it would keep the book alive until the next collection of cycles.
        self._values: dict[tuple[int, Fraction], Fraction] = {}
        self._bounds: dict[tuple[Relaxation, Fraction, bool], tuple[Fraction, str]] = {}

    @property
    def digests(self) -> tuple[str, ...]:
        """SHA-256 of the costs of every part, shares applied."""
        return tuple(digest for _, book in self.parts for digest in book.digests)

    def worst(self, budget: Fraction | None) -> Fraction:
        """See `Relaxed.worst`; the budget is 0 or is shared by no flips."""
        return sum((w * book.least(budget) for w, book in self.parts), Fraction(0))

    def point(self, eps: Fraction, constant: Constant) -> dict[str, Any] | Bounded:
        """What holds within a budget."""
        budget, wide = self.budgets(eps, constant)
        if self.clean is None:
            return {"budget": exact_text(budget), "certified": None}
        if self.q is None or budget == 0:
            return {"budget": exact_text(budget), "certified": Between(self.worst(budget), self.worst(wide))}
        return Bounded(self, constant, None, eps)

    def _sought(self, objective: Degraded, clean: Fraction, constant: Constant) -> dict[str, Any] | Claim:
        # Where no flips share a budget, every part is at its worst at once, and there is nothing to price.
        if self.q is None:
            return super()._sought(objective, clean, constant)
        return Bounded(self, constant, objective, None)

    def bound(self, by: Relaxation, budget: Fraction, loose: bool) -> tuple[Fraction, str]:
        """See `_evaluated`; remembered."""
        key = (by, budget, loose)
        if key not in self._bounds:
            self._bounds[key] = self._evaluated(by, budget, loose)
        return self._bounds[key]

    def _evaluated(self, by: Relaxation, budget: Fraction, loose: bool) -> tuple[Fraction, str]:
        """Evaluate sum_k min (w_k g_k + price spend) - price budget, oriented so that higher is better.

        Args:
            by: the price and the stretches.
            budget: exact.
            loose: whether to allow for what rounding can take away, instead of exactly.

        Returns:
            The bound in the metric's own sense, no worse than everything flipped; a digest of the spends and the
            values there.
        """
        wide = (1 + Fraction(1, 2**40)) if loose else Fraction(1)
        extra = (self.pixels + 8) * by.unit if loose else Fraction(0)
        total, size, seen = Fraction(0), Fraction(1), []
        for k, row in enumerate(by.spends):
            ends = [s * by.unit for s in row]
            starts = [Fraction(0), *ends[:-1]]
            if ends[-1] < budget:
                starts.append(ends[-1])
                ends.append(budget)
            values = [self._value(k, end * wide + extra) for end in ends]
            total += min(v + by.price / by.unit * start for v, start in zip(values, starts, strict=True))
            size += max(map(abs, values))
            seen += [f"{exact_text(end)} {exact_text(v)}" for end, v in zip(ends, values, strict=True)]
        total -= by.price / by.unit * budget * wide
        if loose:
            total -= ROOM * size
        found = max(total, self._sign * self.worst(None))
        return self._sign * found, sha256("\n".join(seen).encode()).hexdigest()

    def _value(self, part: int, spend: Fraction) -> Fraction:
        """What a part is worth at its worst at a spend, oriented so that higher is better; remembered."""
        key = (part, spend)
        if key not in self._values:
            weight, book = self.parts[part]
            self._values[key] = self._sign * weight * book.least(spend)
        return self._values[key]


@dataclass(frozen=True, slots=True)
class Bounded:
    """A point of an average: a bound that follows from the price and the spends written beside it.

    Args:
        book: the image.
        constant: of the property.
        objective: that the written radius must keep from being met, or None.
        eps: the budget, or None: it is the written radius.
    """

    book: AverageBook
    constant: Constant
    objective: Degraded | None
    eps: Fraction | None

    def holds(self, written: object) -> bool:
        """See `Claim`."""
        if not isinstance(written, dict):
            return False
        if self.objective is not None and written == {"certified": "0"}:
            return True
        keys = {"certified", "price", "unit", "spends", "values", "bound"} | (
            {"budget"} if self.eps is not None else set()
        )
        by, found = Relaxation.read(written, len(self.book.parts)), rational(written.get("certified"))
        if set(written) != keys or by is None or not isinstance(found, Fraction):
            return False
        expected = self.filled(found, by)
        if {key: written[key] for key in keys} != expected:
            return False
        # The text of it may have more digits than are read back: a budget of thousands of them is squared.
        exact, _ = self.book.bound(by, self._budget(found), False)
        if self.objective is not None:
            clean = self.book.clean
            return clean is not None and found > 0 and not meets(self.objective, clean, exact)
        loose, _ = self.book.bound(by, self._budget(found), True)
        return min(loose, exact) <= found <= max(loose, exact) and found * self._sign <= exact * self._sign

    def filled(self, found: Fraction, by: Relaxation | None) -> dict[str, Any]:
        """The point as a certificate writes it; a radius of 0 stands on nothing.

        Args:
            found: what is certified.
            by: what it stands on.

        Raises:
            ValueError: something else stands on nothing.
        """
        if by is None:
            if self.objective is None or found:
                raise ValueError("a bound without what it stands on")
            return {"certified": "0"}
        bound, digest = self.book.bound(by, self._budget(found), False)
        point = {"certified": exact_text(found), **by.written(), "values": digest, "bound": exact_text(bound)}
        return point if self.eps is None else {"budget": exact_text(self._budget(found)), **point}

    @property
    def _sign(self) -> int:
        return -1 if self.book.metric.lower_is_better else 1

    def _budget(self, found: Fraction) -> Fraction:
        return self.book.budgets(found if self.eps is None else self.eps, self.constant)[0]

    def __str__(self) -> str:
        return "a bound that follows from its price and spends"


def _parts(metric: Metric, scene: Scene, *, defined: bool = False) -> Sequence[tuple[Fraction, Metric]]:
    """The parts of an average with their weights; those the annotation defines, or all that are asked for."""
    if isinstance(metric.plan, Sum):
        return metric.parts
    if defined:
        return averaged(metric, scene)
    return [(Fraction(1), one) for one in metric.each(scene.classes)]

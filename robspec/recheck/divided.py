"""Quotients of sums of counts by cells: num - v den over all that is within reach, at any v and any prices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from robspec.ir.types import Degraded, Metric
from robspec.oracle.scene import Scene, counts
from robspec.recheck import cell_prices
from robspec.recheck.budget import budget_of, widened
from robspec.recheck.cell_claims import energy_of, read_prices, written_prices
from robspec.recheck.cells import Asked, Cells, Prices
from robspec.recheck.claims import Between, rational
from robspec.recheck.conditions import meets
from robspec.recheck.document import differences
from robspec.recheck.image import Ledger
from robspec.recheck.sight import Sight
from robspec.semantics.constant import Constant
from robspec.semantics.norm import exact_text

_PARTS = 2**64
"""Of 1, in which values are looked for."""


def cells_of_set(metric: Metric, scene: Scene, sight: Sight) -> tuple[Cells, tuple[int, int, int, int]]:
    """Price both kinds of flips of a class set by the exact logits U l.

    Args:
        metric: says which classes, and which pixels count.
        scene: the annotation; its logits are not looked at.
        sight: the coarse logits.

    Returns:
        The items, and TP, FP, FN, TN before the attack.
    """
    seen = scene.counted(metric)
    inside, ahead = (np.isin(labels, metric.classes) for labels in (scene.labels, sight.predicted))
    pixels = np.flatnonzero(seen & (inside == ahead))
    if sight.single:
        gaps = np.abs(sight.gaps(pixels, np.zeros_like(pixels)))
    else:
        within, beside = sight.sides(np.isin(np.arange(sight.classes), metric.classes))
        gaps = np.abs(sight.gaps(pixels, within[pixels], beside[pixels]))
    tally = counts(scene.labels[seen], sight.predicted[seen], metric.classes)
    return Cells.of(sight, gaps, pixels, ~inside[pixels]), tally


class Sums:
    """Numerator, so turned that less is worse, and denominator, and what a flip of each kind adds to them.

    Args:
        metric: a quotient of two sums of counts of one class set.
        tally: TP, FP, FN, TN before the attack.
    """

    def __init__(self, metric: Metric, tally: Sequence[int]) -> None:
        self.sign = -1 if metric.lower_is_better else 1
        above, below = metric.formula.ratio.numerator, metric.formula.ratio.denominator
        tp, fp, fn, tn = tally
        self.above, self.below = self.sign * above.at(tp, fp, fn, tn), below.at(tp, fp, fn, tn)
        steps = ((-1, 0, 1, 0), (0, 1, 0, -1))
        self.steps = [(self.sign * above.at(*step), below.at(*step)) for step in steps]

    def lost(self, value: Fraction, budget: Fraction) -> Asked:
        """What num - value den loses with each flip; a gain, of which nothing has to be made, counts as nothing."""
        leave, enter = (max(value * below - above, Fraction(0)) for above, below in self.steps)
        return Asked(budget, leave, enter)

    def fallen(self, budget: Fraction) -> Asked | None:
        """What the denominator loses with each flip; None where it never falls."""
        leave, enter = (max(Fraction(-below), Fraction(0)) for _, below in self.steps)
        return Asked(budget, leave, enter) if leave or enter else None


@dataclass(frozen=True, slots=True)
class Proof:
    """A value, and prices for each image: of what num - value den loses, and of what the denominator does.

    Args:
        value: any.
        prices: of each image.
        fall: the same where the denominator may fall, else None.
    """

    value: Fraction
    prices: tuple[Prices, ...]
    fall: tuple[Prices, ...] | None


@dataclass(frozen=True, slots=True)
class Shown:
    """What follows from a proof.

    Args:
        left: num - value den is no less.
        below: the denominator is no less.
    """

    left: Fraction
    below: Fraction

    def least(self, value: Fraction) -> Fraction | None:
        """The ratio is no less, None where its denominator may vanish.

        Source: MATH.md 3.C and RESOLUTION.md R1: num / den >= value + left / den.
        """
        return value + min(self.left, Fraction(0)) / self.below if self.below > 0 else None


Image = tuple[Callable[[], Cells], Fraction]
"""What reads the items of an image, and the energy that it may be attacked with."""


def shown(sums: Sums, images: Sequence[Image], proof: Proof) -> Shown:
    """Evaluate a proof, exactly; one image is in memory at a time."""
    left, below = sums.above - proof.value * sums.below, Fraction(sums.below)
    falls = proof.fall or (None,) * len(images)
    for (read, budget), prices, fall in zip(images, proof.prices, falls, strict=True):
        reach, fallen = read().within(budget), sums.fallen(budget)
        left -= sum(reach.bounds(sums.lost(proof.value, budget), prices), Fraction(0))
        if fallen is not None:
            # Without prices all that is within reach.
            lost = reach.everything(fallen) if fall is None else reach.bounds(fallen, fall)
            below -= sum(lost, Fraction(0))
    return Shown(left, below)


def found(sums: Sums, images: Sequence[Image], value: Fraction, *, exact: bool) -> Proof:
    """Look for prices at which a value is proved, in doubles or the best there are."""

    def prices(asked: Callable[[Fraction], Asked | None]) -> tuple[Prices, ...]:
        made = []
        for read, budget in images:
            wanted = asked(budget)
            if wanted is None:
                return ()
            reach = read().within(budget)
            made.append(cell_prices.best(reach, wanted).prices if exact else cell_prices.near(reach, wanted))
        return tuple(made)

    return Proof(value, prices(lambda budget: sums.lost(value, budget)), prices(sums.fallen) or None)


def written_proof(sums: Sums, images: Sequence[Image], proof: Proof) -> tuple[dict[str, Any], Shown]:
    """Write a proof down with what follows from it, which is given too."""
    follows = shown(sums, images, proof)
    lattices = [read().lattice for read, _ in images]

    def texts(prices: Sequence[Prices]) -> list[Any]:
        return [written_prices(each, lattice) for each, lattice in zip(prices, lattices, strict=True)]

    made = {
        "value": exact_text(proof.value),
        "prices": texts(proof.prices),
        "fall": None if proof.fall is None else texts(proof.fall),
        "left": exact_text(follows.left),
        "below": exact_text(follows.below),
    }
    return made, follows


def read_proof(written: Any, images: Sequence[Image]) -> Proof | None:
    """Read the value and the prices of a proof; None for anything else."""
    if not isinstance(written, dict):
        return None
    value = rational(written.get("value"))
    lattices = [read().lattice for read, _ in images]

    def prices(listed: Any) -> tuple[Prices, ...] | None:
        if not isinstance(listed, list) or len(listed) != len(lattices):
            return None
        each = [read_prices(part, lattice) for part, lattice in zip(listed, lattices, strict=True)]
        known = tuple(part for part in each if part is not None)
        return known if len(known) == len(each) else None

    lost, fall = prices(written.get("prices")), None
    if written.get("fall") is not None:
        fall = prices(written["fall"])
        if fall is None:
            return None
    return Proof(value, lost, fall) if isinstance(value, Fraction) and lost is not None else None


def lowest(sums: Sums, images: Sequence[Image]) -> Fraction:
    """Find the least that a quotient may be by cells, as far as prices tell, rounded down to parts of 2^-64.

    Args:
        sums: its numerator and denominator, above 0.
        images: the images.

    Source: Dinkelbach 1967: where num - value den is least, the quotient is the next value.
    """
    value = Fraction(sums.above, sums.below)
    while True:
        proof, flips = _best(sums, images, value)
        if shown(sums, images, proof).left >= 0:
            return value
        above, below = (
            start + sum(n * step[i] for n, step in zip(flips, sums.steps, strict=True))
            for i, start in enumerate((sums.above, sums.below))
        )
        lower = value if below <= 0 else Fraction(math.ceil(above / below * _PARTS), _PARTS)
        if lower >= value:
            return Fraction(math.floor(value * _PARTS) - 1, _PARTS)
        value = lower


def _best(sums: Sums, images: Sequence[Image], value: Fraction) -> tuple[Proof, list[Fraction]]:
    """Find the best prices for a value, and how many pixels leave and enter there, of those that hurt."""
    prices, left, entered = [], Fraction(0), Fraction(0)
    for read, budget in images:
        asked = sums.lost(value, budget)
        point = cell_prices.best(read().within(budget), asked)
        prices.append(point.prices)
        left += point.left if asked.leave else 0
        entered += point.entered if asked.enter else 0
    return Proof(value, tuple(prices), None), [left, entered]


class RatioBook:
    """A quotient on one image: by full-size logits as ever, and by cells.

    Args:
        ledger: what flips cost by full-size logits.
        scene: the annotation.
        sight: the coarse logits.
    """

    def __init__(self, ledger: Ledger, scene: Scene, sight: Sight) -> None:
        self.metric, self.ledger, self.clean, self.pixels = ledger.metric, ledger, ledger.clean, len(scene)
        self.cells, tally = cells_of_set(ledger.metric, scene, sight)
        self.sums = Sums(ledger.metric, tally)
        self.digests = ledger.digests

    def image(self, eps: Fraction, constant: Constant) -> list[Image]:
        """The image, with what it may be attacked with."""
        return [(lambda: self.cells, energy_of(eps, constant))]

    def point(self, eps: Fraction, constant: Constant) -> dict[str, Any] | RatioPoint:
        """What holds within a budget."""
        if self.clean is None:
            budget = exact_text(budget_of(eps, constant))
            return dict.fromkeys(("cut", "spent", "cells", "certified")) | {"budget": budget}
        return RatioPoint(self, constant, eps, None)

    def reach(self, objective: Degraded, constant: Constant) -> dict[str, Any] | RatioPoint:
        """What holds of a radius."""
        if self.clean is None:
            return dict.fromkeys(("budget", "cut", "needs", "cells", "certified"))
        return RatioPoint(self, constant, None, objective)


@dataclass(frozen=True, slots=True)
class RatioPoint:
    """A value or a radius: by full-size logits, or by cells and what is written beside it.

    Args:
        book: the image.
        constant: of the property.
        eps: the budget; None for a radius.
        objective: that the radius must keep from being met; None for a budget.
    """

    book: RatioBook
    constant: Constant
    eps: Fraction | None
    objective: Degraded | None

    def holds(self, written: object) -> bool:
        """See `Claim`."""
        if not isinstance(written, dict):
            return False
        certified, proof = rational(written.get("certified")), None
        if written.get("cells") is not None:
            proof = read_proof(written["cells"], self._images(certified))
            if proof is None:
                return False
        made = self._made(certified, proof)
        return made is not None and not any(differences(written, made))

    def filled(self, certified: Fraction | float) -> dict[str, Any]:
        """The point as a certificate writes it; empty where what was certified does not hold.

        Args:
            certified: what is certified.
        """
        made = self._made(certified, None)
        for exact in (False, True):
            if made is None and (self.objective is not None or isinstance(certified, Fraction)):
                images = self._images(certified)
                made = self._made(certified, found(self.book.sums, images, self._value(certified), exact=exact))
        return made or {}

    def _value(self, certified: Fraction | float) -> Fraction:
        if self.objective is None:
            return self.book.sums.sign * Fraction(certified)
        return self.book.sums.sign * self.objective.threshold.at(self.book.clean or Fraction(0))

    def _images(self, certified: Fraction | float | None) -> list[Image]:
        eps = certified if self.eps is None else self.eps
        # Where coarse logits do not move, a budget is as good as any other.
        return self.book.image(eps if isinstance(eps, Fraction) and eps >= 0 else Fraction(0), self.constant)

    def _made(self, certified: Fraction | float | None, proof: Proof | None) -> dict[str, Any] | None:
        if certified is None or (self.objective is not None and certified < 0):
            return None
        cells, follows = None, None
        if proof is not None:
            images = self._images(certified)
            cells, follows = written_proof(self.book.sums, images, proof)
            cells["budget"] = exact_text(images[0][1])
        if self.objective is None:
            return self._worst(
                certified, cells, None if follows is None or proof is None else follows.least(proof.value)
            )
        proved = follows is not None and proof is not None and self._kept(proof.value, follows)
        return self._radius(certified, self.objective, cells, proved=proved)

    def _kept(self, value: Fraction, follows: Shown) -> bool:
        """Whether the threshold is not reached."""
        if follows.below <= 0 or value != self._value(0):
            return False
        strict = self.objective is not None and self.objective.strict
        return follows.left >= 0 if strict else follows.left > 0

    def _worst(
        self, certified: Fraction | float, cells: dict[str, Any] | None, least: Fraction | None
    ) -> dict[str, Any] | None:
        ledger, sign, clean = self.book.ledger, self.book.sums.sign, self.book.clean
        if self.eps is None or clean is None or not isinstance(certified, Fraction):
            return None
        budget = budget_of(self.eps, self.constant)
        value, cut = ledger.worst(budget)
        if cells is None:
            wide, _ = ledger.worst(widened(budget, self.book.pixels))
            holds = Between(value, wide).holds(exact_text(certified))
        else:
            known = value if least is None else sign * max(sign * value, min(least, sign * clean))
            holds = sign * certified <= sign * known
        if not holds:
            return None
        return {
            "budget": exact_text(budget),
            "cut": [cut.leave, cut.enter],
            "spent": exact_text(cut.cost),
            "cells": cells,
            "certified": exact_text(certified),
        }

    def _radius(
        self, certified: Fraction | float, objective: Degraded, cells: dict[str, Any] | None, *, proved: bool
    ) -> dict[str, Any] | None:
        cut, clean = self.book.ledger.needs(objective), self.book.clean
        if cut is None or clean is None:
            return None
        budget = None
        holds = certified == 0 or cut.cost == math.inf
        if isinstance(certified, Fraction) and certified:
            budget = budget_of(certified, self.constant)
            holds = holds or budget < cut.cost or proved
        elif certified:
            still = not self.constant.value and budget_of(Fraction(0), self.constant) < cut.cost
            holds = holds or still or (proved and self.constant.coarse == 0)
        # An image that meets the objective itself has no radius.
        if not holds or (certified and meets(objective, clean, clean)):
            return None
        return {
            "budget": None if budget is None else exact_text(budget),
            "cut": [cut.leave, cut.enter],
            "needs": exact_text(cut.cost),
            "cells": cells,
            "certified": exact_text(certified),
        }

    def __str__(self) -> str:
        return "what follows from exact costs, or from the prices of cells"

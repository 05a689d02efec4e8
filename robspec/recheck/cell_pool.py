"""Ratios pooled over a data set by cells: every image has its own budget and prices, all have one value to prove."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from robspec.ir.types import Degraded, Property, WorstCaseQuery
from robspec.oracle.scene import Scene
from robspec.recheck.budget import budget_of
from robspec.recheck.cell_claims import energy_of
from robspec.recheck.cells import Cells
from robspec.recheck.claims import Between, rational
from robspec.recheck.conditions import meets
from robspec.recheck.divided import (
    Image,
    Proof,
    Sums,
    cells_of_set,
    found,
    lowest,
    read_proof,
    written_proof,
)
from robspec.recheck.document import differences
from robspec.recheck.lattice import Lattice
from robspec.recheck.pooled import Pool, _single
from robspec.recheck.sight import Sight
from robspec.recheck.spool import Place
from robspec.recheck.whole import objects
from robspec.semantics.constant import Constant
from robspec.semantics.norm import exact_text


@dataclass(frozen=True, slots=True)
class _Put:
    """Cells of one image, in a file.

    Args:
        place: of keys, and of cells, twice over, and 1 more where an item enters.
        lattice: of the image.
        tally: TP, FP, FN, TN.
    """

    place: Place
    lattice: Lattice
    tally: tuple[int, int, int, int]


class CellPool(Pool):
    """A pooled property whose images are looked at by cells, too.

    Args:
        prop: of one pooled metric.
        constant: of the property, with that of coarse logits.
    """

    def __init__(self, prop: Property, constant: Constant) -> None:
        super().__init__(prop, constant)
        self._put: list[list[_Put]] = []
        query, self._largest = prop.query, None
        if isinstance(query, WorstCaseQuery):
            self._largest = energy_of(max(query.budgets), constant)
        self.sign = -1 if self.metric.lower_is_better else 1

    def look(self, scene: Scene, sight: Sight) -> None:
        """Read the cells of an image that was added."""
        self._put.append(
            [self._kept_cells(*cells_of_set(one, scene, sight)) for one in self.metric.each(scene.classes)]
        )

    def _kept_cells(self, cells: Cells, tally: tuple[int, int, int, int]) -> _Put:
        near = np.arange(len(cells.keys)) if self._largest is None else cells.within(self._largest).near
        places = (2 * cells.cell + cells.enters)[near].tolist()
        return _Put(self._spool.write(cells.keys[near].tolist(), places, cells.unit), cells.lattice, tally)

    def _read_cells(self, put: _Put) -> Cells:
        keys, places, unit = self._spool.read(put.place)
        cell, enters = np.divmod(np.array(places, dtype=np.int64), 2)
        return Cells(put.lattice, objects(keys), unit, cell, enters.astype(np.bool_))

    def part(self, number: int, eps: Fraction) -> tuple[Sums, list[Image]]:
        """What cells say of one class set, all images together."""
        puts = [image[number] for image in self._put]
        energy = energy_of(eps, self._constant)
        images: list[Image] = [(lambda put=put: self._read_cells(put), energy) for put in puts]  # type: ignore[misc]
        return Sums(self.metric, [sum(put.tally[i] for put in puts) for i in range(4)]), images

    def each(self, budget: Fraction | None) -> list[tuple[int, Fraction | None]]:
        """The worst value of each class set that is defined, by full-size logits; None for the clean values."""
        if budget is None:
            return list(self._each(lambda kept: _single(kept, (0, 0))))
        return list(self._each(lambda kept: self._reached(kept, budget)))

    def _within(
        self, eps: Fraction, clean: Fraction | None, at: Callable[[Fraction, bool], Fraction]
    ) -> dict[str, Any] | PoolPoint:
        if clean is None:
            return {"budget": exact_text(budget_of(eps, self._constant)), "cells": None, "certified": None}
        return PoolPoint(self, self._constant, clean, at, eps, None)

    def _beyond(
        self, objective: Degraded, clean: Fraction | None, at: Callable[[Fraction, bool], Fraction]
    ) -> dict[str, Any] | PoolPoint:
        if clean is None:
            return {"budget": None, "cells": None, "certified": None}
        return PoolPoint(self, self._constant, clean, at, None, objective)


@dataclass(frozen=True, slots=True)
class PoolPoint:
    """A value or a radius of all images together: by full-size logits, or by cells and what is written beside it.

    Args:
        pool: the images.
        constant: of the property.
        clean: their value.
        at: the worst value within a budget by full-size logits, as it is or enlarged by rounding.
        eps: the budget; None for a radius.
        objective: that the radius must keep from being met; None for a budget.
    """

    pool: CellPool
    constant: Constant
    clean: Fraction
    at: Callable[[Fraction, bool], Fraction]
    eps: Fraction | None
    objective: Degraded | None

    def holds(self, written: object) -> bool:
        """See `Claim`."""
        if not isinstance(written, dict):
            return False
        certified, told = rational(written.get("certified")), written.get("cells")
        if certified is None or told is None:
            made = None if certified is None else self._made(certified, None)
        else:
            parts = self._parts(certified)
            if not isinstance(told, list) or len(told) != len(parts):
                return False
            proofs = [
                None if each is None else read_proof(each, images)
                for each, (_, images) in zip(told, parts, strict=True)
            ]
            if any((proof is None) != (each is None) for proof, each in zip(proofs, told, strict=True)):
                return False
            made = self._made(certified, proofs)
        return made is not None and not any(differences(written, made))

    def filled(self, certified: Fraction | float) -> dict[str, Any]:
        """The point as a certificate writes it; empty where what was certified does not hold.

        Args:
            certified: what is certified.
        """
        made = self._made(certified, None)
        if made is not None:
            return made
        parts = self._parts(certified)
        if len(parts) == 1 and self.objective is None:
            values = [self.pool.sign * Fraction(certified)]
        else:
            # A radius takes a value that does not meet the objective.
            values = [lowest(sums, images) for sums, images in parts]
        for exact in (False, True):
            proofs = [found(*part, value, exact=exact) for part, value in zip(parts, values, strict=True)]
            made = made or self._made(certified, proofs)
        return made or {}

    def _eps(self, certified: Fraction | float) -> Fraction:
        eps = certified if self.eps is None else self.eps
        # Where coarse logits do not move, a budget is as good as any other.
        return eps if isinstance(eps, Fraction) and eps >= 0 else Fraction(0)

    def _parts(self, certified: Fraction | float) -> list[tuple[Sums, list[Image]]]:
        eps = self._eps(certified)
        return [self.pool.part(number, eps) for number, _ in self.pool.each(None)]

    def _made(self, certified: Fraction | float, proofs: Sequence[Proof | None] | None) -> dict[str, Any] | None:
        cells, least = None, list[tuple[Fraction, Fraction] | None]()
        if proofs is not None:
            cells = list[dict[str, Any] | None]()
            for part, proof in zip(self._parts(certified), proofs, strict=True):
                made, follows = (None, None) if proof is None else written_proof(*part, proof)
                cells.append(made)
                known = follows is not None and proof is not None and follows.below > 0
                least.append((proof.value, follows.left / follows.below) if known and proof and follows else None)
        if self.objective is None:
            return self._worst(certified, cells, least)
        return self._radius(certified, self.objective, cells, least)

    def _better(self, budget: Fraction | None, least: Sequence[tuple[Fraction, Fraction] | None]) -> Fraction | None:
        """The mean of the better of both bounds, so turned that less is worse; no budget for cells alone."""
        sign, total = self.pool.sign, Fraction(0)
        clean = self.pool.each(None)
        alone = clean if budget is None else self.pool.each(budget)
        for (_, best), (_, known), by_cells in zip(clean, alone, least, strict=True):
            if best is None or (known is None and by_cells is None):
                return None
            values = [] if known is None or budget is None else [sign * known]
            if by_cells is not None:
                value, rest = by_cells
                values.append(min(value + min(rest, Fraction(0)), sign * best))
            if not values:
                return None
            total += max(values)
        return total / len(alone)

    def _worst(
        self,
        certified: Fraction | float,
        cells: list[dict[str, Any] | None] | None,
        least: Sequence[tuple[Fraction, Fraction] | None],
    ) -> dict[str, Any] | None:
        if self.eps is None or not isinstance(certified, Fraction):
            return None
        budget = budget_of(self.eps, self.constant)
        if cells is None:
            holds = Between(self.at(self.eps, False), self.at(self.eps, True)).holds(exact_text(certified))
        else:
            known = self._better(budget, least)
            holds = known is not None and self.pool.sign * certified <= known
        made = {"budget": exact_text(budget), "cells": cells, "certified": exact_text(certified)}
        return made if holds else None

    def _radius(
        self,
        certified: Fraction | float,
        objective: Degraded,
        cells: list[dict[str, Any] | None] | None,
        least: Sequence[tuple[Fraction, Fraction] | None],
    ) -> dict[str, Any] | None:
        if certified < 0:
            return None
        moved, sign = isinstance(certified, Fraction), self.pool.sign
        budget = budget_of(certified, self.constant) if isinstance(certified, Fraction) and certified else None
        worst: Fraction | None = None
        if cells is None and moved:
            worst = self.at(Fraction(certified), False)
        elif cells is None:
            worst = self.at(Fraction(1), False) if not self.constant.value else self.pool.worst(None)
        elif moved or self.constant.coarse == 0:
            turned = self._better(budget, least)
            worst = None if turned is None else sign * turned
        if certified and (worst is None or meets(objective, self.clean, worst)):
            return None
        if certified and meets(objective, self.clean, self.clean):
            return None
        shown = None if budget is None else exact_text(budget)
        return {"budget": shown, "cells": cells, "certified": exact_text(certified)}

    def __str__(self) -> str:
        return "what follows from exact costs, or from the prices of cells"

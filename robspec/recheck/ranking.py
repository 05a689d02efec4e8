"""Metrics of ranked scores, in exact arithmetic (MATH.md section 3.H)."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from typing import Any

from robspec.ir.plans import Attacked, Measure, Ranked
from robspec.ir.types import Degraded, Metric, Property, WorstCaseQuery
from robspec.oracle.rounded import above, grounded
from robspec.oracle.scene import Scene
from robspec.recheck.claims import rational
from robspec.recheck.conditions import meets, metrics_of
from robspec.semantics.constant import Constant
from robspec.semantics.norm import exact_text


@dataclass(frozen=True, slots=True)
class _Shift:
    """How far scores are moved: a number, or what comes just before (-1) or just after it (1).

    Args:
        down: of anomalies.
        up: of normal images.
        side: -1, 0 or 1.
    """

    down: Fraction
    up: Fraction
    side: int = 0


class Ranks:
    """A property of ranked scores over the images it is given; as `pooled.Pool`.

    Args:
        prop: of one metric, whose plan is `Ranked`.
        constant: of the property.
    """

    def __init__(self, prop: Property, constant: Constant) -> None:
        self.metric: Metric = next(metrics_of(prop))
        if not isinstance(self.metric.plan, Ranked):
            raise ValueError(f"{self.metric.name} ranks no scores")
        self._measure = self.metric.plan.measure
        self._both = self.metric.plan.attacked is Attacked.BOTH
        self._query = prop.query
        self._constant = constant
        self._sides: tuple[list[Fraction], list[Fraction]] = ([], [])
        self._images = 0

    def add(self, scene: Scene) -> None:
        """Read one image; none is left out."""
        self._sides[int(scene.labels[0])].append(Fraction(float(scene.logits[0, 0])))
        self._images += 1

    def entry(self) -> dict[str, Any]:
        """What holds of all images together."""
        for side in self._sides:
            side.sort()
        clean = self._value(_Shift(Fraction(0), Fraction(0)))
        shown = "\n".join(" ".join(map(str, side)) for side in self._sides)
        entry: dict[str, Any] = {
            "image": f"all {self._images} images",
            "clean": None if clean is None else exact_text(clean),
            "scores": sha256(shown.encode()).hexdigest(),
        }
        best = clean
        if self._constant.rounding:
            best = self._best()
            entry["best"] = None if best is None else exact_text(best)
        if isinstance(self._query, WorstCaseQuery):
            found = [self._value(self._at(eps)) for eps in self._query.budgets]
            entry["points"] = [{"certified": None if v is None else exact_text(v)} for v in found]
            return entry
        leaves = [o for o in self._query.objectives if isinstance(o, Degraded)]
        if self._constant.rounding:
            leaves = [o for o in (grounded(leaf, {self.metric: best}) for leaf in leaves) if isinstance(o, Degraded)]
        entry["points"] = [{"certified": None if clean is None else _Infimum(self, o, clean)} for o in leaves]
        entry["met"] = [None if best is None else meets(o, best, best) for o in leaves]
        return entry

    def _best(self) -> Fraction | None:
        """The value over the reals at most: anomalies moved up and normal images down, in doubles, outwards."""
        far, kept = above(self._constant.rounding), self._sides
        normal, anomalous = ([float(score) for score in side] for side in kept)
        self._sides = (
            sorted(Fraction(math.nextafter(score - far, -math.inf)) for score in normal),
            sorted(Fraction(math.nextafter(score + far, math.inf)) for score in anomalous),
        )
        found = self._value(_Shift(Fraction(0), Fraction(0)))
        self._sides = kept
        return found

    def reached(self, objective: Degraded, clean: Fraction, eps: Fraction | float, side: int = 0) -> bool:
        """Whether an attack of a budget, or of one just beside it, meets an objective."""
        largest = [side[-1] - side[0] for side in self._sides] + [
            abs(self._sides[0][i] - self._sides[1][j]) for i, j in ((0, -1), (-1, 0))
        ]
        threshold = abs(self.metric.arguments[0]) if self.metric.arguments else Fraction(0)
        beyond = sum(largest, threshold) + max(abs(s) for side in self._sides for s in side) + 1
        shift = self._at(Fraction(eps)) if eps != math.inf else self._far(beyond)
        if not self._constant.value or not (shift.down or shift.up or side > 0):
            side = 0
        value = self._value(_Shift(shift.down, shift.up, side))
        return value is not None and meets(objective, clean, value)

    def _at(self, eps: Fraction) -> _Shift:
        return self._shift(eps * self._constant.value)

    def _far(self, beyond: Fraction) -> _Shift:
        return self._shift(beyond if self._constant.value else Fraction(0))

    def _shift(self, reach: Fraction) -> _Shift:
        """What an attack moves, and rounding, which moves the scores of images that nobody attacks too."""
        rounding = self._constant.rounding
        return _Shift(reach + rounding, (reach if self._both else Fraction(0)) + rounding)

    def _value(self, shift: _Shift) -> Fraction | None:
        normal, anomalous = self._sides
        if not normal or not anomalous:
            return None
        n, m, side, total = len(anomalous), len(normal), shift.side, shift.down + shift.up
        given, measure = self.metric.arguments, self._measure

        def nearer(score: Fraction, *, level: bool) -> int:
            """Normal images that come above a score, or (level) at least up to it."""
            at = score - total
            counts_ties = side > 0 or (level and side == 0)
            return m - (bisect_left if counts_ties else bisect_right)(normal, at)

        if measure is Measure.AUROC:
            lost = sum(nearer(s, level=False) + nearer(s, level=True) for s in anomalous)
            return 1 - Fraction(lost, 2 * n * m)
        if measure is Measure.TPR_AT:
            at = given[0] + shift.down
            moves = side if shift.down or side > 0 else 0
            return Fraction(n - (bisect_right if moves > 0 else bisect_left)(anomalous, at), n)
        if measure is Measure.FPR_AT:
            moves = side if shift.up and self._both else 0
            return Fraction(m - (bisect_right if moves < 0 else bisect_left)(normal, given[0] - shift.up), m)
        if measure is Measure.FPR_AT_TPR:
            score = anomalous[n - math.ceil(given[0] * n)]
            return Fraction(nearer(score, level=True), m)
        parted = bool(shift.down) or side > 0
        terms = []
        for rank, score in enumerate(reversed(anomalous), start=1):
            level = n - bisect_left(anomalous, score)
            tied = Fraction(level, level + nearer(score, level=True))
            apart = Fraction(rank, rank + nearer(score, level=False))
            terms.append(min(tied, apart) if parted else tied)
        return sum(terms, Fraction(0)) / n


@dataclass(frozen=True, slots=True)
class _Infimum:
    """A certified radius: no smaller attack meets the objective, and one just larger does."""

    ranks: Ranks
    objective: Degraded
    clean: Fraction

    def holds(self, written: object) -> bool:
        """See `claims.Claim`."""
        found = rational(written, 20_000)
        if found is None or found < 0:
            return False
        if found == math.inf:
            return not self.ranks.reached(self.objective, self.clean, math.inf)
        if found and self.ranks.reached(self.objective, self.clean, found, -1):
            return False
        ends = (self.ranks.reached(self.objective, self.clean, found, side) for side in (0, 1))
        return any(ends)

    def __str__(self) -> str:
        return "the least budget at which the scores within reach can be brought to the objective"

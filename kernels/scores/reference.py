"""The definition of the metrics in plain Python: scores as rational numbers, pair by pair.

Slow on purpose and short enough to check by eye; every other backend must equal it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction

from robspec.kernels.scores import FloatArray, Radius, Shifts, checked, rank_at

ZERO, HALF = Fraction(0), Fraction(1, 2)


class ReferenceScores:
    """Scores as rational numbers."""

    backend = "reference"

    def __init__(self, anomalous: FloatArray, normal: FloatArray) -> None:
        self._s = sorted(map(Fraction, checked(anomalous, "anomalous").tolist()), reverse=True)
        self._a = sorted(map(Fraction, checked(normal, "normal").tolist()))
        self.anomalies, self.normals = len(self._s), len(self._a)

    def auroc(self, shifts: Shifts) -> Fraction | None:
        """See `Scores.auroc`."""
        if not self._s or not self._a:
            return None
        t = shifts.total
        won = sum((HALF * ((s - a > t) + (s - a >= t)) for s in self._s for a in self._a), ZERO)
        return won / (self.anomalies * self.normals)

    def auroc_radius(self, gamma: Fraction, *, strict: bool) -> Radius | None:
        """See `Scores.auroc_radius`."""
        if not self._s or not self._a:
            return None
        return _least(lambda t: below(self.auroc(Shifts(t)), gamma, strict), self._distances())

    def average_precision(self, shifts: Shifts) -> Fraction | None:
        """See `Scores.average_precision`: every number of ties that part is tried."""
        if not self._s or not self._a:
            return None
        t, total = shifts.total, ZERO
        for score in set(self._s):
            first = self._s.index(score) + 1
            last = first + self._s.count(score) - 1
            near = sum(score - a < t for a in self._a)
            f = sum(score - a <= t for a in self._a)
            # The ranks before `kept` lie just above the others, which stay tied.
            total += min(
                sum((Fraction(rank, rank + near) for rank in range(first, kept)), ZERO)
                + (last + 1 - kept) * Fraction(last, last + f)
                for kept in (range(first, last + 1) if shifts.down else [first])
            )
        return total / self.anomalies

    def average_precision_radius(self, gamma: Fraction, *, strict: bool, lowered: bool) -> Radius | None:
        """See `Scores.average_precision_radius`."""
        if not self._s or not self._a:
            return None

        def attained(t: Fraction) -> bool:
            shifts = Shifts(t, ZERO) if lowered else Shifts(ZERO, t)
            return below(self.average_precision(shifts), gamma, strict)

        return _least(attained, self._distances())

    def tpr_at(self, threshold: Fraction, shifts: Shifts) -> Fraction | None:
        """See `Scores.tpr_at`."""
        called = sum(s - shifts.down >= threshold for s in self._s)
        return Fraction(called, self.anomalies) if self._s else None

    def tpr_at_radius(self, threshold: Fraction, gamma: Fraction, *, strict: bool) -> Radius | None:
        """See `Scores.tpr_at_radius`."""
        if not self._s:
            return None
        distances = (s - threshold for s in self._s)
        return _least(lambda t: below(self.tpr_at(threshold, Shifts(t, ZERO)), gamma, strict), distances)

    def fpr_at(self, threshold: Fraction, shifts: Shifts) -> Fraction | None:
        """See `Scores.fpr_at`."""
        called = sum(a + shifts.up >= threshold for a in self._a)
        return Fraction(called, self.normals) if self._a else None

    def fpr_at_radius(self, threshold: Fraction, gamma: Fraction, *, strict: bool) -> Radius | None:
        """See `Scores.fpr_at_radius`."""
        if not self._a:
            return None
        distances = (threshold - a for a in self._a)
        return _least(lambda t: above(self.fpr_at(threshold, Shifts(ZERO, t)), gamma, strict), distances)

    def fpr_at_tpr(self, level: Fraction, shifts: Shifts) -> Fraction | None:
        """See `Scores.fpr_at_tpr`."""
        rank = rank_at(level, self.anomalies)
        if not self._s or not self._a:
            return None
        return self.fpr_at(self._s[rank - 1] - shifts.down, shifts)

    def fpr_at_tpr_radius(self, level: Fraction, gamma: Fraction, *, strict: bool) -> Radius | None:
        """See `Scores.fpr_at_tpr_radius`."""
        rank_at(level, self.anomalies)
        if not self._s or not self._a:
            return None
        return _least(lambda t: above(self.fpr_at_tpr(level, Shifts(t, ZERO)), gamma, strict), self._distances())

    def _distances(self) -> Iterable[Fraction]:
        return (s - a for s in self._s for a in self._a)


def below(value: Fraction | None, gamma: Fraction, strict: bool) -> bool:
    """Tell whether a metric of which more is better has fallen to gamma, or below it."""
    return value is not None and (value < gamma if strict else value <= gamma)


def above(value: Fraction | None, gamma: Fraction, strict: bool) -> bool:
    """Tell whether a metric of which less is better has risen to gamma, or above it."""
    return value is not None and (value > gamma if strict else value >= gamma)


def _least(attained: Callable[[Fraction], bool], distances: Iterable[Fraction]) -> Radius:
    """Try every shift at which a metric changes, and one between each of them and the next."""
    critical = sorted({ZERO, *(d for d in distances if d > 0)})
    for at, following in zip(critical, [*critical[1:], critical[-1] + 1], strict=True):
        if attained(at):
            return Radius(at, True)
        if attained((at + following) / 2):
            return Radius(at, False)
    return Radius(None, False)


class ReferenceBackend:
    """The rational reference."""

    name = "reference"

    def unavailable(self) -> str | None:
        """See `Backend.unavailable`: plain Python runs everywhere."""
        return None

    def read(self, anomalous: FloatArray, normal: FloatArray) -> ReferenceScores:
        """See `Backend.read`."""
        return ReferenceScores(anomalous, normal)


BACKEND = ReferenceBackend()

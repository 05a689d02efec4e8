"""The CPU backend: both sides sorted once, then one walk along them for each shift, never a matrix of pairs.

Memory beyond the scores is two integers per anomaly; a radius takes at most some 200 walks, whatever the scores.
Integers: counts of one side are below 2^31, so products of two counts, and twice the number of pairs, are below 2^63.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from robspec.kernels.scores import FloatArray, IntArray, Radius, Shifts, checked, rank_at
from robspec.kernels.scores._pairs import LARGEST, Key, count, key, shift
from robspec.kernels.scores._sums import Mean

_AT_ZERO = Key(0.0, 0.0, 0.0, True)
_PAST_ZERO = Key(0.0, 0.0, 0.0, False)
_PAST_ALL = Key(math.inf, math.inf, 0.0, False)


class CpuScores:
    """Scores in order."""

    backend = "cpu"

    def __init__(self, anomalous: FloatArray, normal: FloatArray) -> None:
        self._s: FloatArray = np.sort(checked(anomalous, "anomalous"))[::-1].copy()
        self._a: FloatArray = np.sort(checked(normal, "normal"))
        self.anomalies, self.normals = self._s.size, self._a.size
        self._nearer, self._within = np.empty((2, self.anomalies), dtype=np.int64)
        self._ranks = np.arange(1, self.anomalies + 1, dtype=np.int64)
        # The last rank with the same score.
        self._ends: IntArray = np.searchsorted(-self._s, -self._s, side="right").astype(np.int64)

    def auroc(self, shifts: Shifts) -> Fraction | None:
        """See `Scores.auroc`."""
        if not self.anomalies or not self.normals:
            return None
        return Fraction(self._halves(key(shifts.total)), 2 * self.anomalies * self.normals)

    def auroc_radius(self, gamma: Fraction, *, strict: bool) -> Radius | None:
        """See `Scores.auroc_radius`."""
        if not self.anomalies or not self.normals:
            return None
        halves = 2 * gamma * self.anomalies * self.normals
        most = math.ceil(halves) - 1 if strict else math.floor(halves)
        return _least(lambda at: self._halves(at) <= most)

    def average_precision(self, shifts: Shifts) -> Fraction | None:
        """See `Scores.average_precision`."""
        if not self.anomalies or not self.normals:
            return None
        return self._precision(key(shifts.total), parted=shifts.down > 0).exact()

    def average_precision_radius(self, gamma: Fraction, *, strict: bool, lowered: bool) -> Radius | None:
        """See `Scores.average_precision_radius`."""
        if not self.anomalies or not self.normals:
            return None
        decided: dict[tuple[int, int, bool], bool] = {}

        def attained(at: Key) -> bool:
            mean = self._precision(at, parted=lowered and at != _AT_ZERO)
            # Counts only grow with the shift, so equal sums are equal counts.
            name = (int(self._nearer.sum()), int(self._within.sum()), at == _AT_ZERO)
            if name not in decided:
                decided[name] = mean.below(gamma, strict=strict)
            return decided[name]

        return _least(attained)

    def tpr_at(self, threshold: Fraction, shifts: Shifts) -> Fraction | None:
        """See `Scores.tpr_at`."""
        return _share(self._s, threshold + shifts.down)

    def tpr_at_radius(self, threshold: Fraction, gamma: Fraction, *, strict: bool) -> Radius | None:
        """See `Scores.tpr_at_radius`."""
        clean = self.tpr_at(threshold, Shifts())
        if clean is None:
            return None
        if clean < gamma or (clean == gamma and not strict):
            return Radius(Fraction(0), True)
        allowed = self.anomalies * gamma
        most = math.ceil(allowed) - 1 if strict else math.floor(allowed)
        # The first of the scores that must be lost lies highest.
        return Radius(None, False) if most < 0 else Radius(Fraction(float(self._s[most])) - threshold, False)

    def fpr_at(self, threshold: Fraction, shifts: Shifts) -> Fraction | None:
        """See `Scores.fpr_at`."""
        return _share(self._a, threshold - shifts.up)

    def fpr_at_radius(self, threshold: Fraction, gamma: Fraction, *, strict: bool) -> Radius | None:
        """See `Scores.fpr_at_radius`."""
        if not self.normals:
            return None
        asked = self.normals * gamma
        least = math.floor(asked) + 1 if strict else math.ceil(asked)
        if least > self.normals:
            return Radius(None, False)
        if least <= 0:
            return Radius(Fraction(0), True)
        # The last of the scores that must be called lies lowest.
        return Radius(max(threshold - Fraction(float(self._a[-least])), Fraction(0)), True)

    def fpr_at_tpr(self, level: Fraction, shifts: Shifts) -> Fraction | None:
        """See `Scores.fpr_at_tpr`."""
        rank = rank_at(level, self.anomalies)
        if not self.anomalies or not self.normals:
            return None
        return _share(self._a, Fraction(float(self._s[rank - 1])) - shifts.total)

    def fpr_at_tpr_radius(self, level: Fraction, gamma: Fraction, *, strict: bool) -> Radius | None:
        """See `Scores.fpr_at_tpr_radius`."""
        rank = rank_at(level, self.anomalies)
        if not self.anomalies or not self.normals:
            return None
        return self.fpr_at_radius(Fraction(float(self._s[rank - 1])), gamma, strict=strict)

    def _count(self, at: Key) -> None:
        count(self._s, self._a, *at, self._nearer, self._within)

    def _halves(self, at: Key) -> int:
        """Twice the pairs beyond a shift and once the pairs at it."""
        self._count(at)
        return 2 * self.anomalies * self.normals - int(self._nearer.sum()) - int(self._within.sum())

    def _precision(self, at: Key, *, parted: bool) -> Mean:
        """The precision at each anomaly; those of one score are parted where that lowers it."""
        self._count(at)
        if not parted:
            return Mean(self._ends, self._ends + self._within)
        apart = self._ranks * self._within < self._ends * self._nearer
        ranks = np.where(apart, self._ranks, self._ends)
        return Mean(ranks, ranks + np.where(apart, self._nearer, self._within))


def _share(scores: FloatArray, threshold: Fraction) -> Fraction | None:
    """The share of scores that are >= a threshold."""
    if not scores.size:
        return None
    if abs(threshold) > Fraction(LARGEST):
        return Fraction(int(threshold < 0))
    up = float(threshold)
    if Fraction(up) < threshold:
        up = math.nextafter(up, math.inf)
    return Fraction(int(np.count_nonzero(scores >= up)), scores.size)


def _least(attained: Callable[[Key], bool]) -> Radius:
    """Find the infimum of the shifts for which an upward-closed predicate holds that changes at distances only.

    Args:
        attained: holds at a key, or just above it where it is not exact.
    """
    if attained(_AT_ZERO):
        return Radius(Fraction(0), True)
    if attained(_PAST_ZERO):
        return Radius(Fraction(0), False)
    if not attained(_PAST_ALL):
        return Radius(None, False)
    rounded = _first(lambda x: attained(Key(x, math.inf, math.inf, False)), math.ulp(0.0), math.inf)
    if math.isinf(rounded):
        half = _first(lambda x: attained(Key(rounded, x, math.inf, False)), 0.0, LARGEST)
        unit = math.ulp(half)
        rest = _first(lambda x: attained(Key(rounded, half, x, False)), -unit, unit)
    else:
        unit, rest = math.ulp(rounded), 0.0
        half = _first(lambda x: attained(Key(rounded, x, rest, False)), -unit, unit)
    found = Key(rounded, half, rest, True)
    return Radius(shift(found), attained(found))


def _first(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The least double in [low, high] for which an upward-closed predicate holds that holds for `high`."""
    a, b = _ordered(low), _ordered(high)
    while a < b:
        middle = (a + b) // 2
        if holds(_double(middle)):
            b = middle
        else:
            a = middle + 1
    return _double(a)


def _ordered(value: float) -> int:
    """An integer in the order of the doubles, 0 for 0."""
    bits = int(struct.unpack("<q", struct.pack("<d", abs(value)))[0])
    return -bits if value < 0 else bits


def _double(ordered: int) -> float:
    value = float(struct.unpack("<d", struct.pack("<q", abs(ordered)))[0])
    return -value if ordered < 0 else value


class CpuBackend:
    """Sorted lists and walks along them, compiled."""

    name = "cpu"

    def unavailable(self) -> str | None:
        """See `Backend.unavailable`: numba is a dependency."""
        return None

    def read(self, anomalous: FloatArray, normal: FloatArray) -> CpuScores:
        """See `Backend.read`."""
        return CpuScores(anomalous, normal)


BACKEND = CpuBackend()

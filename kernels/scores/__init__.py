"""Ranking metrics of one score per image under attack: one contract, several backends with the same exact answers.

An attack moves each score by itself: anomalies down by at most `down`, normal images up by at most `up`. Each answer
is the exact worst case over all those shifts, a rational number; no comparison of scores is rounded.

Higher scores mean "more anomalous", and a score is *called anomalous* at a threshold T when it is >= T.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
import numpy.typing as npt

from robspec import registry

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MOST_SCORES = 2**31 - 1
"""Of either side: pairs are counted in 64 bits, twice each."""


@dataclass(frozen=True, slots=True)
class Shifts:
    """How far an attack can move scores.

    Args:
        down: of each anomaly, exact, >= 0; c L eps where anomalies are attacked, else 0.
        up: of each normal image, the same.

    Raises:
        ValueError: one of them is negative.
    """

    down: Fraction = Fraction(0)
    up: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        if self.down < 0 or self.up < 0:
            raise ValueError(f"shifts are not negative: down {self.down}, up {self.up}")

    @property
    def total(self) -> Fraction:
        """How much closer an anomaly and a normal image can come."""
        return self.down + self.up


NO_SHIFT = Shifts()


@dataclass(frozen=True, slots=True)
class Radius:
    """The infimum of all total shifts with which an attack attains an objective.

    Attaining is upward closed: a larger shift allows whatever a smaller one does.

    Args:
        shift: the infimum, exact; None for infinity, where no shift attains it.
        attained: whether the infimum itself attains it; False with None.
    """

    shift: Fraction | None
    attained: bool

    def within(self, total: Fraction) -> bool:
        """Tell whether an attack with this total shift attains the objective."""
        return self.shift is not None and (total > self.shift or (total == self.shift and self.attained))


class Scores(Protocol):
    """Two sets of scores that have been read.

    Every method of both sides gives None where one is empty, every method of one side where that is.

    Attributes:
        backend: the name of the backend that holds them.
        anomalies: how many anomalous scores, n.
        normals: how many normal scores, m.
    """

    backend: str
    anomalies: int
    normals: int

    def auroc(self, shifts: Shifts) -> Fraction | None:
        """Compute the least area under the ROC curve, (1/nm) sum over pairs of 1[s > a] + 1/2 [s = a].

        Each pair falls with s and rises with a, whatever the others do: all shifts at once are the worst case.

        Args:
            shifts: of the attack.

        Returns:
            The exact minimum.

        Source: IMAGES.md I2.
        """
        ...

    def auroc_radius(self, gamma: Fraction, *, strict: bool) -> Radius | None:
        """Find the shift that brings the area under the ROC curve down to gamma.

        Args:
            gamma: exact.
            strict: below gamma rather than to gamma or below.

        Returns:
            The infimum of down + up. A pair of scores at distance t counts one half at total shift t and nothing
            beyond, so an infimum above 0 is the distance of a pair, and is attained if its halves are enough.
        """
        ...

    def average_precision(self, shifts: Shifts) -> Fraction | None:
        """Compute the least average precision, the sum over thresholds of recall gained x precision.

        That is the mean over anomalies of the precision at their own score, ties at one threshold. Let
        s_1 >= ... >= s_n be the anomalies, k the last rank with the score of rank l, f' the number of normal images
        with s_l - a < down + up and f of those with <=. Where anomalies move, the minimum is

            (1/n) sum over l of min(l / (l + f'), k / (k + f)).

        *It is a lower bound.* In any reachable ranking the l-th largest anomalous score is at least s_l - down. If it
        is larger, its precision is at least l / (l + f'): l anomalies are not below it, and at most f' normal images.
        If it is equal, so are no fewer than the ranks up to k, and its precision is at least k / (k + f).
        *It is attained.* l / (l + f') grows with l, so the ranks of one score for which it is the smaller are the
        first ones. Raise all normal images; lower those ranks to just above s_l - down, one below the other, before
        the next normal image, and all others to s_l - down.

        So it is *not* attained by all shifts at once where anomalies tie: those stay tied, and a tie counts in their
        favour. Anomalies 1, 1 with one normal image above: 2/3 tied, (1/2 + 2/3) / 2 apart. Where anomalies cannot
        move they cannot part, and the minimum is (1/n) sum of k / (k + f).

        Args:
            shifts: of the attack.

        Returns:
            The exact minimum.
        """
        ...

    def average_precision_radius(self, gamma: Fraction, *, strict: bool, lowered: bool) -> Radius | None:
        """Find the shift that brings the average precision down to gamma.

        Args:
            gamma: exact.
            strict: below gamma rather than to gamma or below.
            lowered: whether anomalies are attacked, so that any shift but 0 parts their ties.

        Returns:
            The infimum of down + up: 0, or the distance of a pair of scores.
        """
        ...

    def tpr_at(self, threshold: Fraction, shifts: Shifts) -> Fraction | None:
        """Compute the least share of anomalies with score >= threshold: of s >= threshold + down."""
        ...

    def tpr_at_radius(self, threshold: Fraction, gamma: Fraction, *, strict: bool) -> Radius | None:
        """Find the shift `down` that brings the true positive rate to gamma or below (below it if strict).

        Returns:
            The infimum; only 0 is ever attained, as a score lowered to the threshold is still called anomalous.
        """
        ...

    def fpr_at(self, threshold: Fraction, shifts: Shifts) -> Fraction | None:
        """Compute the largest share of normal images with score >= threshold: of a >= threshold - up."""
        ...

    def fpr_at_radius(self, threshold: Fraction, gamma: Fraction, *, strict: bool) -> Radius | None:
        """Find the shift `up` that brings the false positive rate to gamma or above (above it if strict).

        Returns:
            The infimum; always attained where finite, as a score raised to the threshold is called anomalous.
        """
        ...

    def fpr_at_tpr(self, level: Fraction, shifts: Shifts) -> Fraction | None:
        """Compute the largest false positive rate at the largest threshold whose true positive rate is >= level.

        That threshold is the k-th largest anomalous score, k = ceil(level n), *after* the attack. An order statistic
        does not grow when a score falls, and the rate at a threshold does not fall when the threshold falls or a
        normal score rises: all shifts at once are the worst case, the share of a with s_k - a <= down + up.

        Args:
            level: above 0, at most 1.
            shifts: of the attack.

        Returns:
            The exact maximum.

        Raises:
            ValueError: a level outside (0, 1].
        """
        ...

    def fpr_at_tpr_radius(self, level: Fraction, gamma: Fraction, *, strict: bool) -> Radius | None:
        """Find the shift that brings that false positive rate to gamma or above (above it if strict).

        Returns:
            The infimum of down + up; always attained where finite.
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

    def read(self, anomalous: FloatArray, normal: FloatArray) -> Scores:
        """Read two sets of scores once.

        Args:
            anomalous: float64 [n], finite, in any order; n may be 0.
            normal: float64 [m], the same.

        Raises:
            ValueError: another dtype or shape, NaN, or an infinite score.
        """
        ...


def checked(scores: FloatArray, side: str) -> FloatArray:
    """Refuse scores that mean nothing; what every backend calls first.

    Args:
        scores: of one side.
        side: its name, for the error.

    Returns:
        The same scores, float64 [n].

    Raises:
        ValueError: another dtype or shape, too many of them, NaN, or an infinite score.
    """
    if scores.dtype != np.float64 or scores.ndim != 1 or scores.size > MOST_SCORES:
        raise ValueError(f"{side} scores must be float64 [n], not {scores.dtype} {list(scores.shape)}")
    wrong = np.flatnonzero(~np.isfinite(scores))
    if wrong.size:
        raise ValueError(f"{side} score {wrong[0]} is {scores[wrong[0]]}")
    return scores


def rank_at(level: Fraction, anomalies: int) -> int:
    """Give the k for which the k-th largest anomalous score is the largest threshold with TPR >= level.

    Raises:
        ValueError: a level outside (0, 1].
    """
    if not 0 < level <= 1:
        raise ValueError(f"the level of the true positive rate must lie above 0 and not above 1, not {level}")
    return math.ceil(level * anomalies)


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

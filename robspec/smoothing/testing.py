"""Which items are certified, from how often their classes were found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from robspec.semantics.binomial import probability_down, tails_up
from robspec.semantics.smoothing import Smoothing

_NEXT_TO_NOTHING = Fraction(1, 2**30)

IntArray = npt.NDArray[np.integer]


def histogram(hits: IntArray, trials: int) -> list[int]:
    """Count the items by their hits.

    Args:
        hits: of each item, from 0 to `trials`.
        trials: samples.

    Returns:
        trials + 1 numbers that sum to the number of items.
    """
    found: list[int] = np.bincount(hits.reshape(-1), minlength=trials + 1).tolist()
    return found


def least_hits(counts: Sequence[int], tau: Fraction, alpha: Fraction) -> int:
    """Test for every item whether its class is more frequent than tau, wrong anywhere with probability alpha at most.

    Items with as many hits have the same p-value, so that Holm's procedure is one walk over the numbers of hits.

    Args:
        counts: of items by hits, n + 1 numbers.
        tau: in (0, 1).
        alpha: in (0, 1).

    Returns:
        The items with at least so many hits are certified; n + 1 where none is. P-values are rounded up.

    Source: Holm 1979, for exact one-sided binomial tests.
    """
    trials, left = len(counts) - 1, sum(counts)
    tails = tails_up(trials, tau)
    least = trials + 1
    for hits in range(trials, -1, -1):
        if not counts[hits]:
            continue
        if tails[hits] * left > alpha:
            break
        least, left = hits, left - counts[hits]
    return least


def enough(items: int, tau: Fraction, alpha: Fraction, trials: int) -> int | None:
    """Say how many samples could certify anything, where those at hand cannot.

    Args:
        items: tested at once.
        tau: what is tested, in (0, 1).
        alpha: shared by all.
        trials: samples at hand.

    Returns:
        None where items that are found in every sample are certified; else about how many samples that takes.
    """
    if tails_up(trials, tau)[trials] * items <= alpha:
        return None
    # As a double tau may be 1, and its logarithm 0: next to 1 that is 1 - tau but for its sign.
    rest = 1 - tau
    rate = rest if rest < _NEXT_TO_NOTHING else Fraction(-math.log(tau))
    return max(math.ceil(Fraction(-math.log(alpha / items)) / rate), trials + 1)


def radii(counts: Sequence[int], smoothing: Smoothing, alpha: Fraction) -> list[Fraction]:
    """Give the radius of every number of hits, all right at once with probability 1 - alpha.

    Args:
        counts: of items by hits, n + 1 numbers.
        smoothing: sigma.
        alpha: shared by all items alike (Bonferroni).

    Returns:
        For each number of hits that occurs the l2 distance up to which the class stays the most frequent, rounded
        down; 0 for the others.
    """
    items = sum(counts)
    return [
        _radius(hits, len(counts) - 1, alpha / items, smoothing) if count else Fraction(0)
        for hits, count in enumerate(counts)
    ]


@lru_cache(maxsize=4096)
def _radius(hits: int, trials: int, alpha: Fraction, smoothing: Smoothing) -> Fraction:
    frequency = probability_down(hits, trials, alpha)
    return smoothing.radius(frequency) if 2 * frequency > 1 else Fraction(0)

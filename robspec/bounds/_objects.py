"""From what is certain of an image's objects to bounds: one budget, spent on two lists (DETECTION.md D2, D3)."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator
from fractions import Fraction

from robspec.kernels.detection import Ledger


def lost(ledger: Ledger) -> int:
    """Most objects that an attack can make vanish: the cheapest ones, as many as the budget pays."""
    return bisect.bisect_right(_sums(ledger.vanish), ledger.limit) - 1


def added(ledger: Ledger) -> int:
    """Most detections that an attack can add."""
    return bisect.bisect_right(_sums(ledger.appear), ledger.limit) - 1


def spent(ledger: Ledger) -> Iterator[tuple[int, int, int]]:
    """List the worst counts TP, FP and FN: for each number of lost objects the most detections that can be added."""
    vanish, appear = _sums(ledger.vanish), _sums(ledger.appear)
    for a, price in enumerate(vanish):
        if price > ledger.limit:
            return
        b = bisect.bisect_right(appear, ledger.limit - price) - 1
        tp = ledger.found - a
        yield tp, max(ledger.kept - ledger.found + b, 0), ledger.objects - tp


def worst(ledger: Ledger, value: Callable[[int, int, int], Fraction], *, lower_is_better: bool) -> Fraction:
    """The worst value of a metric that falls with lost objects and with false alarms.

    Args:
        ledger: what is certain.
        value: the metric over TP, FP and FN.
        lower_is_better: whether the largest value is the worst one.
    """
    found = [value(*counts) for counts in spent(ledger)]
    return max(found) if lower_is_better else min(found)


def _sums(costs: tuple[int, ...]) -> list[int]:
    return [0, *itertools.accumulate(costs)]

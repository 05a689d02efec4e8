"""Metric that a mistake can improve.

The worst case of a formula is found by letting pixels be lost (TP become FN) and false
alarms be raised (TN become FP), as many as the budget pays. That is the worst case
only if no such mistake makes the value better, which robspec proves from the
derivative, for all counts. Where there are counts at which a mistake does improve the
value, they are shown; where none are found, the proof has failed all the same.

Mostly the polarity is missing, or the formula rewards something else than intended.

Source: MATH.md section 3.C.

Example::

    metric miss_rate(k) = FN[k] / (TP[k] + FN[k])
    metric predicted(k) = (TP[k] + FP[k]) / N

Mend::

    metric miss_rate(k) lower_is_better = FN[k] / (TP[k] + FN[k])
    metric recall_of(k) = TP[k] / (TP[k] + FN[k])
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import reported
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Report formulas without a proof that they are monotone."""
    yield from reported(__name__, spec)

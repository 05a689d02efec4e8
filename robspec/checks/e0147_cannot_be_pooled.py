"""Metric that cannot be pooled.

A pooled metric adds up numerator and denominator over all images before it divides.
That is for formulas of one class, with sums of counts above and below the bar; and for
mean_iou and mean_dice, the mean of the pooled values of the classes.

Source: MATH.md section 3.E.

Example::

    metric pooled pixel_accuracy

Mend::

    metric pooled iou[runway]
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import reported
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Report pooling where it has no meaning."""
    yield from reported(__name__, spec)

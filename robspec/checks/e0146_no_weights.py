"""Metric that cannot be weighted.

Weights say how much each pixel counts, which has a meaning for metrics that count
pixels one by one, over a sum that the annotation fixes: pixel_accuracy, stability,
recall, fnr, specificity, fpr and your own metrics of that form.

Source: MATH.md section 3.B.

Example::

    metric weighted iou[runway]

Mend::

    metric weighted recall[runway]
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import reported
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Report weights where they have no meaning."""
    yield from reported(__name__, spec)

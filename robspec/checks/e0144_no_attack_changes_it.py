"""Metric that no attack changes.

It depends only on numbers the annotation fixes: TP + FN, the pixels annotated as the
class, FP + TN, all others, and N. All classes merged into one are every pixel, and are
never confused with anything.

Example::

    metric size(k) = (TP[k] + FN[k]) / N
    metric iou[background, runway]

Mend::

    metric found(k) = TP[k] / N
    metric iou[runway]
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import reported
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Report metrics that are constant."""
    yield from reported(__name__, spec)

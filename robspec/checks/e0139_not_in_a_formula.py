"""Something that cannot stand in a formula.

A formula is over the counts TP[k], FP[k], FN[k] and TN[k] of pixels of one image, over
N, the number of all annotated pixels, over numbers and over metrics that are given by
formulas of this kind. Averages over the classes found in each annotation (mean_iou)
have no such formula.

Example::

    metric m = 1 - mean_iou
    metric f(k) = TP / N

Mend::

    metric m = 1 - (iou[runway] + iou[grass]) / 2
    metric f(k) = TP[k] / N
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import reported
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Report what has no meaning in a formula."""
    yield from reported(__name__, spec)

"""Formula that cannot be taken apart by classes.

The worst case is known for a formula of the counts of one class, or of several classes
merged into one, and for sums of such formulas. A product or quotient of counts of
different classes is neither; nor is a formula that is too large once it is multiplied
out (400 terms, degree 12, numbers of 192 bits). All formulas of a specification
together may take a few seconds of algebra. A model of two classes is free of the first:
the counts of one are those of the other.

Source: MATH.md sections 3.C and 3.D.

Example::

    metric m = iou[runway] * iou[grass]

Mend::

    metric m = (iou[runway] + iou[grass]) / 2
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import reported
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Report formulas of no known family."""
    yield from reported(__name__, spec)

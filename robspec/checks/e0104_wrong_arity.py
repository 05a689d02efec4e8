"""Wrong number of arguments or classes.

A metric is asked of classes in brackets and takes its numbers in parentheses, as in
`f_beta(2)[runway]`. Some take neither: pixel_accuracy and stability are about all
classes at once.

Example::

    metric pixel_accuracy[runway]
    metric pixel_accuracy(2)

Mend::

    metric pixel_accuracy
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._definitions import arity_faults
from robspec.checks._report import error, reported
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Compare every reference to a metric with what the metric takes."""
    yield from reported(__name__, spec)
    for block in spec.properties:
        for use in spec.metric_uses(block):
            info = spec.metric(use)
            if info is not None:
                for span, message, mend in arity_faults(info, use, (spec.classes or ("class",))[-1]):
                    yield error(__name__, span, message, mend)

"""Pooled metric among several.

A condition of several comparisons is decided for each image, and a pooled metric has no
value for one. It can be the only metric of a condition.

Example::

    degraded when pooled iou[runway] <= 0.5 and pixel_accuracy <= 0.8

Mend::

    degraded when pooled iou[runway] <= 0.5
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import write


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look for pooled metrics in conditions of several comparisons."""
    for block in spec.properties:
        comparisons = spec.comparisons(block)
        for comparison in comparisons if len(comparisons) > 1 else ():
            metric = spec.conditions.read(comparison, spec.metric_of(block)).metric
            if metric is not None and spec.of_data_set(metric):
                message = f"`{write.metric(metric)}` is of the whole data set, and cannot be combined"
                yield error(__name__, comparison.span, message, "give it a property of its own")

"""Clean value of another metric.

`h0` is the clean value of `h`, the property's own metric. A comparison about a
metric that it names itself takes that metric's clean value, written `clean(...)`
with the same metric in it.

Example::

    metric pixel_accuracy
    degraded when stability <= 0.9 * h0

Mend::

    degraded when stability <= 0.9 * clean(stability)
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._conditions import Fault
from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import write


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Compare every clean value with the metric its comparison is about."""
    for block in spec.properties:
        for comparison in spec.comparisons(block):
            reading = spec.conditions.read(comparison, spec.metric_of(block))
            for fault, span, word in reading.faults:
                if fault is not Fault.FOREIGN_CLEAN:
                    continue
                subject = "h" if reading.metric is None else write.metric(reading.metric)
                mend = "write `h0`" if not reading.by_name else f"write `clean({subject})`"
                message = f"`{word}` is not the clean value of `{subject}`, which this comparison is about"
                yield error(__name__, span, message, mend)

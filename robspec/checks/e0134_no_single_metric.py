"""Comparison that is not about exactly one metric.

Each comparison of a condition bounds one metric: the property's own, written h, or
one that it names. Several metrics take one comparison each, joined with `and` or
`or`.

Example::

    degraded when 0.3 <= 0.5
    degraded when pixel_accuracy <= stability

Mend::

    degraded when h <= 0.5
    degraded when pixel_accuracy <= 0.5 and stability <= 0.5
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._conditions import Fault
from robspec.checks._constants import Trouble
from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic, Span
from robspec.semantics.kappa import Independent
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look for the metric of every comparison, unless a name in it is unknown."""
    unknown = [f.span for f in spec.constants.found if f.trouble is Trouble.UNKNOWN]
    for block in spec.properties:
        for comparison in spec.comparisons(block):
            if not any(_within(span, comparison.span) for span in unknown):
                yield from _comparison(spec, comparison, spec.metric_of(block))


def _within(inner: Span, outer: Span) -> bool:
    return outer.start <= inner.start and inner.end <= outer.end


def _comparison(spec: Spec, comparison: ast.Comparison, declared: ast.MetricReference | None) -> Iterator[Diagnostic]:
    for fault, span, _ in spec.conditions.read(comparison, declared).faults:
        if fault is Fault.NO_METRIC:
            message = "this comparison is about no metric, so it is true or false whatever the attack"
            yield error(__name__, span, message, "compare `h`, the property's metric: `h <= 0.5`")
        elif fault is Fault.TWO_METRICS:
            message = "a comparison is about one metric; this is a second one"
            yield error(__name__, span, message, "write one comparison for each, joined with `and` or `or`")
    if isinstance(spec.conditions.outcome(comparison, declared), Independent):
        message = "the metric cancels out, so this is true or false whatever the attack"
        yield error(__name__, comparison.span, message, "compare `h` with a number: `h <= 0.5`")

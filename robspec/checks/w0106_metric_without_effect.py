"""Metric statement without effect.

The condition names its metrics itself and does not speak of `h`, so the property's
`metric` is never evaluated.

Example::

    metric pixel_accuracy
    degraded when stability <= 0.5

Mend::

    metric stability
    degraded when h <= 0.5
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import warning
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look for radius properties no comparison of which is about their metric."""
    for block in spec.properties:
        statement = spec.statement(block, ast.MetricStatement)
        if statement is None or spec.asks_radius(block) is not True:
            continue
        readings = [spec.conditions.read(c, statement.metric) for c in spec.comparisons(block)]
        others = [r.metric for r in readings if r.metric is not None and spec.metric(r.metric) is not None]
        if len(others) == len(readings) and statement.metric not in others:
            message = "the condition is about other metrics, so this one is never evaluated"
            yield warning(__name__, statement.span, message, "leave it out, or write `h` in the condition")

"""Degradation that always holds, or never can.

If every clean image counts as degraded, every radius is 0. If no value of the
metric is degraded, every radius is infinite: nothing can be required of it but what
is vacuous.

Example::

    degraded when h <= 1
    degraded when h < 0

Mend::

    degraded when h <= 0.5
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from robspec.checks._report import warning
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.metrics import MetricInfo
from robspec.semantics.kappa import Inverted
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Try the best and the worst value at both ends of the clean value; a swept threshold is left alone."""
    for block in spec.properties:
        for comparison in spec.comparisons(block):
            declared = spec.metric_of(block)
            outcome = spec.conditions.outcome(comparison, declared)
            reference = spec.conditions.read(comparison, declared).metric
            info = None if reference is None else spec.metric(reference)
            ends = spec.range_of(reference)
            if info is None or ends is None or not isinstance(outcome, Inverted):
                continue
            if not isinstance(comparison.right, ast.Sweep) and outcome.relation.upward is info.lower_is_better:
                yield from _vacuous(comparison, outcome, info, ends)


def _vacuous(
    comparison: ast.Comparison, outcome: Inverted, info: MetricInfo, clean: tuple[Fraction, Fraction]
) -> Iterator[Diagnostic]:
    worst = clean[1] if info.lower_is_better else clean[0]
    mend = f"write a threshold within the values of `{info.name}`"
    if all(outcome.relation.holds(h0, outcome.threshold.at(h0)) for h0 in clean):
        message = "every clean image counts as degraded, so every radius is 0"
        yield warning(__name__, comparison.span, message, mend)
    elif not any(outcome.relation.holds(worst, outcome.threshold.at(h0)) for h0 in clean):
        message = "no value of the metric is degraded, so every radius is infinite"
        yield warning(__name__, comparison.span, message, mend)

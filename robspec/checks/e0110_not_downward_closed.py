"""Condition that a worse value escapes.

A radius is the strength from which on an attack can degrade the metric as
described. That has a meaning only if every value worse than a degraded one is
degraded too (the condition is downward closed): otherwise a stronger attack could
leave the degraded region again. The message names two values: one that satisfies
the condition and a worse one that does not.

Example::

    degraded when h == 0.5

Mend::

    degraded when h <= 0.5
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error, shown
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.semantics.kappa import NotClosed


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Try to invert every comparison."""
    for block in spec.properties:
        for comparison in spec.comparisons(block):
            outcome = spec.conditions.outcome(comparison, spec.metric_of(block))
            if isinstance(outcome, NotClosed):
                at = "" if outcome.clean is None else f", with h0 = {shown(outcome.clean)}"
                pair = f"{shown(outcome.satisfied)} is degraded, the worse {shown(outcome.worse)} is not{at}"
                message = f"a worse value can escape this condition: {pair}"
                yield error(__name__, comparison.span, message, "bound the metric from one side: `h <= 0.5`")

"""Condition that cannot be brought into the form h <= a + b * h0.

Whether a metric is degraded is decided exactly, from a threshold that is a constant
plus a multiple of the clean value. Every condition linear in h and h0 has that
form; others are refused, even where they would have a meaning.

A quotient by h0 is refused because it is 0/0 on an image whose clean value is 0.
Multiplied out, the condition decides every image: a relative loss of a tenth is `h0
- h >= 0.1 * h0`, which such an image satisfies at once.

Example::

    degraded when (h0 - h) / h0 >= 0.1
    degraded when h * h <= 0.25

Mend::

    degraded when h0 - h >= 0.1 * h0
    degraded when h <= 0.5
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.semantics.kappa import Unsupported


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Try to invert every comparison."""
    for block in spec.properties:
        for comparison in spec.comparisons(block):
            outcome = spec.conditions.outcome(comparison, spec.metric_of(block))
            if isinstance(outcome, Unsupported):
                message = f"this condition cannot be turned into a threshold: {outcome.reason}"
                mend = "write it as `h <= a + b * h0`, with numbers for a and b"
                if "divides" in outcome.reason:
                    mend = "multiply out: `h0 - h >= 0.1 * h0` for a relative loss of a tenth"
                yield error(__name__, comparison.span, message, mend)

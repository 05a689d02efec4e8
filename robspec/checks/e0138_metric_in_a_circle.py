"""Metric that is defined by itself.

A formula may use other metrics, in any order, but must come down to counts of pixels
in the end.

Example::

    metric a(k) = 1 - b[k]
    metric b(k) = 1 - a[k]

Mend::

    metric a(k) = TP[k] / (TP[k] + FN[k])
    metric b(k) = 1 - a[k]
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import reported
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Report definitions that go round in a circle."""
    yield from reported(__name__, spec)

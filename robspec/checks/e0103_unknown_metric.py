"""Unknown metric.

No metric of that name is known to this robspec.

Example::

    metric pixel_acuracy

Mend::

    metric pixel_accuracy
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error, reported
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic, did_you_mean


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look up every metric a property or a formula refers to."""
    yield from reported(__name__, spec)
    names = sorted({info.name for info in spec.metrics.values()})
    for block in spec.properties:
        for use in spec.metric_uses(block):
            if spec.metric(use) is None:
                mend = did_you_mean(use.name.id, spec.metrics, f"the metrics are {', '.join(names)}")
                yield error(__name__, use.name.span, f"no metric is called `{use.name.id}`", mend)

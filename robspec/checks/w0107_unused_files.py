"""Region or weights that nothing uses.

The data declares files that no metric asks for, so they are not read.

Example::

    region "val/roi/*.png"
    metric iou[runway]

Mend::

    region "val/roi/*.png"
    metric iou[runway] in region
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import warning
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look for a metric that asks for each kind of file."""
    if spec.file.damage:
        return
    for data in spec.used_data:
        uses = [u for block in spec.properties if spec.data_of(block) is data for u in spec.metric_uses(block)]
        region, weights = spec.statement(data, ast.Region), spec.statement(data, ast.Weights)
        if region is not None and not any(u.within is not None and not u.within.classes for u in uses):
            yield warning(__name__, region.span, "no metric is asked `in region`", "use it or remove it")
        if weights is not None and not any(u.adjective == "weighted" for u in uses):
            yield warning(__name__, weights.span, "no metric is `weighted`", "use them or remove them")

"""Metric that needs masks, data without them.

Pixel accuracy compares with an annotation, so the data must say where the masks
are. Stability compares with the prediction on the clean image and needs none.

Example::

    data val {
      images "val/images/*.png"
    }
    property accurate {
      metric pixel_accuracy

Mend::

    data val {
      images "val/images/*.png"
      masks "val/masks/*.png"
    }
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look for masks wherever a metric needs them."""
    data = spec.data
    if data is None or spec.damaged(data) or spec.statement(data, ast.Masks) is not None:
        return
    for block in spec.properties:
        for use in spec.metric_uses(block):
            info, region = spec.metric(use), use.within is not None and bool(use.within.classes)
            if info is not None and (info.needs_masks or region):
                message = f"`{info.name}` needs annotations, and `data {data.name.id}` has no `masks`"
                mend = f'add `masks "..."` to the data (line {spec.line(data)}), or use `stability`'
                yield error(__name__, use.span, message, mend)

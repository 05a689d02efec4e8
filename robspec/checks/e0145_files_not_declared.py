"""Region or weights without files.

A metric `in region` counts the pixels that are not 0 in the region files; a weighted
metric counts each pixel with its weight. The data must say where these files are.
They are paired with the images by name, as masks are.

Example::

    data val {
      images "val/images/*.png"
      masks  "val/masks/*.png"
    }
    metric iou[runway] in region

Mend::

    data val {
      images "val/images/*.png"
      masks  "val/masks/*.png"
      region "val/roi/*.png"
    }
    metric iou[runway] in region
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look for the files wherever a metric needs them."""
    for block in spec.properties:
        data = spec.data_of(block)
        if data is not None and not spec.damaged(data):
            yield from _of(spec, block, data)


def _of(spec: Spec, block: ast.Property, data: ast.Data) -> Iterator[Diagnostic]:
    region, weights = spec.statement(data, ast.Region), spec.statement(data, ast.Weights)
    for use in spec.metric_uses(block):
        if use.within is not None and not use.within.classes and region is None:
            message = f"`in region` needs region files, and `data {data.name.id}` has no `region`"
            yield error(
                __name__, use.within.span, message, f'add `region "..."` to the data (line {spec.line(data)})'
            )
        if use.adjective == "weighted" and weights is None:
            message = f"`weighted` needs weight files, and `data {data.name.id}` has no `weights`"
            yield error(__name__, use.span, message, f'add `weights "..."` to the data (line {spec.line(data)})')

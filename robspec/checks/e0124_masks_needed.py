"""Metric that needs an annotation, data without one.

Pixel accuracy compares with an annotation, so the data must say where the masks
are; of a model that judges whole images, where the labels are; of a detector, where
its objects are. Stability compares
with the prediction on the clean image and needs none.

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
from robspec.syntax.forms import FORMS

_GIVEN: tuple[type[ast.Node], ...] = (ast.Masks, ast.Labels, ast.Pairs, ast.Layout, ast.ObjectsStatement)


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look for masks wherever a metric needs them."""
    for block in spec.properties:
        data = spec.data_of(block)
        if data is not None and not spec.damaged(data) and not any(spec.statement(data, k) for k in _GIVEN):
            yield from _of(spec, block, data)


def _of(spec: Spec, block: ast.Property, data: ast.Data) -> Iterator[Diagnostic]:
    wanted = "masks" if spec.task is None else spec.task.annotation
    form = FORMS[wanted] if wanted != "masks" else 'masks "..."'
    for use in spec.metric_uses(block):
        info, region = spec.metric(use), use.within is not None and bool(use.within.classes)
        if info is not None and (info.needs_masks or region):
            message = f"`{info.name}` needs annotations, and `data {data.name.id}` has no `{wanted}`"
            instead = "" if info.scores or wanted == "objects" else ", or use `stability`"
            mend = f"add `{form}` to the data (line {spec.line(data)}){instead}"
            yield error(__name__, use.span, message, mend)

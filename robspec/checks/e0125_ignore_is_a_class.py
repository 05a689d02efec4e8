"""Ignore label that is the label of a class.

Pixels with the ignore label take no part in any metric. If it were the index of a
class, that class would never be looked at. In binary masks 0 and 255 are the two
classes, so neither can be ignored.

Example::

    classes background, runway
    ignore 1

Mend::

    classes background, runway
    ignore 255
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error, shown
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Compare the ignore labels with the classes' indices, where the masks hold those."""
    if spec.classes is None:
        return
    for data in spec.data_blocks:
        if any(isinstance(s, (ast.Map, ast.Layout)) for s in data.statements):
            continue
        binary = any(isinstance(s, (ast.Masks, ast.Pairs)) and s.binary for s in data.statements)
        for expr in (e for s in data.statements if isinstance(s, ast.Ignore) for e in s.labels):
            label, index = spec.value(expr), None
            if label is None:
                continue
            if label.denominator == 1 and 0 <= label < len(spec.classes):
                index = int(label)
            elif binary and label == 255 and len(spec.classes) == 2:
                index = 1
            if index is not None:
                message = f"{shown(label)} is the label of `{spec.classes[index]}`, which would never be evaluated"
                yield error(__name__, expr.span, message, "ignore a label that no class has, or none")

"""Malformed shape.

The input is channels, height, width; the output is classes (or one logit), height,
width. Each is a positive integer of at most 1048576.

Example::

    input image [256, 256] in [0, 1]
    output logits [2, 256, 0]

Mend::

    input image [3, 256, 256] in [0, 1]
    output logits [2, 256, 256]
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error, shown
from robspec.checks._spec import MAX_SIDE, Spec
from robspec.diagnostics import Diagnostic, Span
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at both shapes."""
    for statement, form in (
        (spec.of_model(ast.Input), "[channels, height, width]"),
        (spec.of_model(ast.Output), "[classes, height, width]"),
    ):
        if statement is None:
            continue
        if len(statement.shape) != 3:
            span = Span(statement.shape[0].span.start, statement.shape[-1].span.end)
            message = f"a shape has three numbers, {len(statement.shape)} given"
            yield error(__name__, span, message, f"write it as {form}")
        for side in statement.shape:
            value = spec.value(side)
            if value is not None and (value.denominator != 1 or not 1 <= value <= MAX_SIDE):
                message = f"{shown(value)} is no number of channels, rows or columns"
                yield error(__name__, side.span, message, f"write an integer from 1 to {MAX_SIDE}")

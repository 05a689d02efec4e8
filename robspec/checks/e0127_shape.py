"""Malformed shape.

The input is channels, height, width. The output is classes (or one logit), height,
width, for a model that judges every pixel; or classes alone, in one number, for a
model that judges an image as a whole; or classes and locations, for a detector, whose
second output, `boxes`, is 4 by locations. Each is a positive integer of at most 1048576.

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
    for statement, lengths, what, form in (
        (spec.of_model(ast.Input), (3,), "a shape has three numbers", "[channels, height, width]"),
        (
            spec.of_model(ast.Output),
            (1, 2, 3),
            "an output has three numbers, two for a detector, or one for whole images",
            "[classes, height, width], [classes, locations], or [classes] for one decision about each image",
        ),
    ):
        if statement is None:
            continue
        if len(statement.shape) not in lengths:
            span = Span(statement.shape[0].span.start, statement.shape[-1].span.end)
            yield error(__name__, span, f"{what}, {len(statement.shape)} given", f"write it as {form}")
        for side in statement.shape:
            value = spec.value(side)
            if value is not None and (value.denominator != 1 or not 1 <= value <= MAX_SIDE):
                message = f"{shown(value)} is no number of channels, rows or columns"
                yield error(__name__, side.span, message, f"write an integer from 1 to {MAX_SIDE}")

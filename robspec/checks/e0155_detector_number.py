"""Number of a detector that is out of range.

A threshold of a sigmoid lies between 0 and 1, both left out. Suppression is at an
overlap from 0, below 1; a match at an overlap above 0, up to 1, or by location with
the number of locations that must fire, at least 1. Strides are whole pixels, the
limit of detections is at least 1.

Example::

    threshold sigmoid 30
    match     overlap 50

Mend::

    threshold sigmoid 0.3
    match     overlap 0.5
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from robspec.checks._report import error, shown
from robspec.checks._spec import MAX_SIDE, Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast

_MOST_STRIDES = 16


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at every number of the block."""
    for statement in () if spec.detector is None else spec.detector.statements:
        if isinstance(statement, ast.Threshold) and statement.of == "sigmoid":
            yield from _within(spec, statement.value, "a threshold of a sigmoid", open_low=True, open_high=True)
        elif isinstance(statement, ast.Threshold):
            yield from _float32(spec, statement.value)
        elif isinstance(statement, ast.Nms) and statement.value is not None:
            yield from _within(spec, statement.value, "an overlap to suppress at", open_low=False, open_high=True)
        elif isinstance(statement, ast.Match) and statement.value is not None:
            if statement.name.id == "location":
                yield from _whole(spec, statement.value, "a number of locations")
            else:
                yield from _within(spec, statement.value, "an overlap of a match", open_low=True, open_high=False)
        elif isinstance(statement, ast.Limit):
            yield from _whole(spec, statement.value, "a number of detections")
        elif isinstance(statement, ast.Strides):
            for value in statement.values:
                yield from _whole(spec, value, "a stride")
            if len(statement.values) > _MOST_STRIDES:
                message = f"{len(statement.values)} levels are more than the {_MOST_STRIDES} that are read"
                yield error(__name__, statement.span, message, "name the levels of the detector")


def _within(spec: Spec, expr: ast.Expr, what: str, *, open_low: bool, open_high: bool) -> Iterator[Diagnostic]:
    value = spec.value(expr)
    if value is None or (0 < value < 1) or (value == 0 and not open_low) or (value == 1 and not open_high):
        return
    low, high = "above 0" if open_low else "from 0", "below 1" if open_high else "up to 1"
    yield error(__name__, expr.span, f"{shown(value)} is not {what}", f"write a number {low} and {high}")


def _float32(spec: Spec, expr: ast.Expr) -> Iterator[Diagnostic]:
    value = spec.value(expr)
    if value is not None and abs(value) > Fraction(10) ** 30:
        yield error(__name__, expr.span, f"{shown(value)} is no score of a network", "write a number below 1e30")


def _whole(spec: Spec, expr: ast.Expr, what: str) -> Iterator[Diagnostic]:
    value = spec.value(expr)
    if value is not None and (value.denominator != 1 or not 1 <= value <= MAX_SIDE):
        yield error(__name__, expr.span, f"{shown(value)} is not {what}", f"write an integer from 1 to {MAX_SIDE}")

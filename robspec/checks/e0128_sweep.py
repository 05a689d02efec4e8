"""Malformed sweep.

A sweep runs from a smaller to a larger value through a number of equally spaced
points, both ends included: at least 2 and at most 1000, or 100 in a condition, where
it is the right side of the only comparison. All sweeps of a specification together
have at most 2000 points, each counted once for each requirement of its property, and
ten times in a condition.

Example::

    budget 1 to 0 points 21
    budget 0 to 1 points 1.5

Mend::

    budget 0 to 1 points 21
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error, shown
from robspec.checks._spec import MAX_ANSWERS, MAX_POINTS, MAX_THRESHOLDS, Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast
from robspec.syntax.walk import descend


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at ends and number of points, at the place of a swept threshold, and at all sweeps together."""
    yield from _together(spec)
    for node in descend(spec.file):
        if isinstance(node, ast.Budget) and isinstance(node.value, ast.Sweep):
            yield from _sweep(spec, node.value, MAX_POINTS)
        elif isinstance(node, ast.Comparison) and isinstance(node.right, ast.Sweep):
            yield from _sweep(spec, node.right, MAX_THRESHOLDS)
        elif isinstance(node, (ast.AllOf, ast.AnyOf)):
            for part in node.parts:
                if isinstance(part, ast.Comparison) and isinstance(part.right, ast.Sweep):
                    message = "a sweep cannot be one part of a condition"
                    mend = "sweep the only comparison of a property, or fix this value"
                    yield error(__name__, part.right.span, message, mend)


def _together(spec: Spec) -> Iterator[Diagnostic]:
    total = 0
    for block in spec.properties:
        each = max(1, len(spec.requirements(block)))
        if spec.asks_radius(block):
            each *= MAX_POINTS // MAX_THRESHOLDS
        for sweep in (node for node in descend(block) if isinstance(node, ast.Sweep)):
            points = spec.points(sweep)
            total += len(points or ()) * each
            if total > MAX_ANSWERS:
                message = (
                    f"up to here, all sweeps have {total} points, counted once for each requirement and a threshold "
                    f"{MAX_POINTS // MAX_THRESHOLDS} times"
                )
                mend = f"ask for {MAX_ANSWERS} at most; other sweeps go into another specification"
                yield error(__name__, sweep.span, message, mend)
                return


def _sweep(spec: Spec, sweep: ast.Sweep, most: int) -> Iterator[Diagnostic]:
    start, stop, points = spec.value(sweep.start), spec.value(sweep.stop), spec.value(sweep.points)
    if points is not None and (points.denominator != 1 or not 2 <= points <= most):
        message = f"a sweep cannot have {shown(points)} points"
        yield error(__name__, sweep.points.span, message, f"write an integer from 2 to {most}")
    if start is not None and stop is not None and start >= stop:
        message = f"the sweep starts at {shown(start)} and stops at {shown(stop)}"
        yield error(__name__, sweep.span, message, "write the smaller end first")

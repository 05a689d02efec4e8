"""Empty or malformed input range.

The range after `in` has a smallest and a largest value. Budgets and Lipschitz
constants are in its units, and a counterexample must lie in it.

Example::

    input image [3, 256, 256] in [1, 0]

Mend::

    input image [3, 256, 256] in [0, 1]
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error, shown
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic, Span
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at the two ends."""
    statement = spec.of_model(ast.Input)
    if statement is None:
        return
    span = Span(statement.range[0].span.start, statement.range[-1].span.end)
    ends = spec.values(statement.range)
    if len(statement.range) != 2:
        message = f"a range has a smallest and a largest value, {len(statement.range)} given"
        yield error(__name__, span, message, "write it like `in [0, 1]`")
    elif ends is not None and ends[0] >= ends[1]:
        message = f"no value lies between {shown(ends[0])} and {shown(ends[1])}"
        yield error(__name__, span, message, "write the smaller one first, like `in [0, 1]`")

"""Label that is no integer, in `ignore` or `map`.

Labels in masks are integers; 255 is a common ignore label, -1 is used in arrays.

Example::

    ignore 254.5

Mend::

    ignore 255
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error, shown
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast

LIMIT = 1 << 31


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at the labels, those of a `map` included."""
    for data in spec.data_blocks:
        for expr in labels(data):
            label = spec.value(expr)
            if label is not None and (label.denominator != 1 or abs(label) >= LIMIT):
                message = f"{shown(label)} cannot be the label of a pixel"
                yield error(__name__, expr.span, message, "write an integer, such as 255")


def labels(data: ast.Data) -> Iterator[ast.Expr]:
    """The labels a block names."""
    for statement in data.statements:
        if isinstance(statement, ast.Ignore):
            yield from statement.labels
        elif isinstance(statement, ast.Map):
            for source in (p.source for p in statement.parts):
                if isinstance(source, ast.Stored):
                    yield from (source.first, *([source.last] if source.last is not None else []))

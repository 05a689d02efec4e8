"""Ignore label that is no integer.

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
    """Look at the label."""
    ignore = spec.statement(spec.data, ast.Ignore)
    label = None if ignore is None else spec.value(ignore.label)
    if ignore is None or label is None:
        return
    if label.denominator != 1 or abs(label) >= LIMIT:
        message = f"{shown(label)} cannot be the label of a pixel"
        yield error(__name__, ignore.label.span, message, "write an integer, such as 255")

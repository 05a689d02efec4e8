"""Empty path.

`images` and `masks` name files by a pattern relative to the specification, in which
* stands for any part of a name.

Example::

    images ""

Mend::

    images "val/images/*.png"
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at the two patterns."""
    for statement in (spec.statement(spec.data, ast.Images), spec.statement(spec.data, ast.Masks)):
        if statement is not None and not statement.glob.strip():
            word = "images" if isinstance(statement, ast.Images) else "masks"
            mend = f'name the files: `{word} "val/{word}/*.png"`'
            yield error(__name__, statement.span, f"`{word}` names no file", mend)

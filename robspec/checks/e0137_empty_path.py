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
from robspec.syntax.forms import FORMS


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at the patterns, and at the table of labels."""
    for kind in (ast.Images, ast.Masks, ast.Labels, ast.ObjectsStatement):
        statement = spec.statement(spec.data, kind)
        glob = getattr(statement, "glob", None)
        if statement is not None and glob is not None and not glob.strip():
            word = kind.__name__.lower().removesuffix("statement")
            mend = f"name the files: `{FORMS[word]}`"
            yield error(__name__, statement.span, f"`{word}` names no file", mend)

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
from robspec.syntax.forms import FORMS


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at the patterns, and at the tables."""
    for statement in (s for data in spec.data_blocks for s in data.statements):
        path = getattr(statement, "glob", getattr(statement, "root", None))
        if path is not None and not path.strip():
            word = type(statement).__name__.lower().removesuffix("statement")
            mend = f"name the files: `{FORMS[word]}`"
            yield error(__name__, statement.span, f"`{word}` names no file", mend)

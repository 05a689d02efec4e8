"""Language version missing or unsupported.

A specification says which version of the language it is written in, so that its
meaning can never change under it. This robspec reads version 1.

Example::

    param eps = 0.1

Mend::

    language 1
    param eps = 0.1
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import NOWHERE, Diagnostic
from robspec.syntax import ast

SUPPORTED = 1


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look for the first `language` statement and read its version."""
    statement = spec.statement_of_file(ast.Language)
    if statement is None:
        if not spec.damaged_outside:
            mend = f"write `language {SUPPORTED}` on the first line"
            yield error(__name__, NOWHERE, "the specification does not say its language version", mend)
    elif statement.version.value != SUPPORTED:
        message = f"language version {statement.version.text} is not supported"
        yield error(
            __name__, statement.version.span, message, f"this robspec reads version 1: `language {SUPPORTED}`"
        )

"""Claimed Lipschitz constant that is not positive.

A constant of zero would say that the model ignores its input, a negative one says
nothing.

Example::

    lipschitz l2 <= 0

Mend::

    lipschitz l2 <= 1.001
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error, shown
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at the sign of the claim."""
    claim = spec.of_model(ast.Lipschitz)
    value = None if claim is None else spec.value(claim.value)
    if claim is not None and value is not None and value <= 0:
        message = f"a Lipschitz constant of {shown(value)}"
        yield error(__name__, claim.value.span, message, "claim a constant above zero, or leave the claim out")

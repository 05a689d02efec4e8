"""Parameter with a reserved name.

In a condition `h` is the property's metric and `h0` its clean value; `nan` and
`inf` are no numbers of the language; TP, FP, FN, TN and N are counts of pixels. A
parameter of one of these names would never be read. A metric cannot take the name
of a built-in one, of a count or of a parameter.

Example::

    param h = 0.5

Mend::

    param gamma = 0.5
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._conditions import H0, H
from robspec.checks._constants import NOT_FINITE
from robspec.checks._definitions import RESERVED
from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at the names of parameters and metrics."""
    for name, param in spec.params.items():
        if name in (H, H0) or name.lower() in NOT_FINITE or name in spec.metrics or name in RESERVED:
            message = f"`{name}` has a meaning of its own and cannot name a parameter"
            yield error(__name__, param.name.span, message, "choose another name")
    for statement in spec.file.statements:
        if isinstance(statement, ast.Definition):
            name = statement.name.id
            if name in spec.definitions.built_in:
                message = f"`{name}` is a built-in metric"
                yield error(__name__, statement.name.span, message, "choose another name, or use the built-in one")
            elif name in (H, H0) or name.lower() in NOT_FINITE or name in RESERVED:
                message = f"`{name}` has a meaning of its own and cannot name a metric"
                yield error(__name__, statement.name.span, message, "choose another name")

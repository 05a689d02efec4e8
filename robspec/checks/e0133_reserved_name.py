"""Parameter with a reserved name.

In a condition `h` is the property's metric and `h0` its clean value; `nan` and
`inf` are no numbers of the language. A parameter of one of these names would never
be read.

Example::

    param h = 0.5

Mend::

    param gamma = 0.5
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._conditions import H0, H
from robspec.checks._constants import NOT_FINITE
from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at the names of the parameters."""
    for name, param in spec.params.items():
        if name in (H, H0) or name.lower() in NOT_FINITE or name in spec.metrics:
            message = f"`{name}` has a meaning of its own and cannot name a parameter"
            yield error(__name__, param.name.span, message, "choose another name")

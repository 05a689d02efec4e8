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


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at the sign of every claim."""
    for claim in spec.claims:
        value = spec.value(claim.value)
        if value is not None and value <= 0:
            message = f"a Lipschitz constant of {shown(value)}"
            yield error(__name__, claim.value.span, message, "claim a constant above zero, or leave the claim out")

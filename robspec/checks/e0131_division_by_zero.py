"""Division by zero.

Constant arithmetic is exact, and the divisor is exactly zero.

Example::

    param steps = 0
    param eps = 1 / steps

Mend::

    param steps = 10
    param eps = 1 / steps
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._constants import Trouble
from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Report divisors that are zero."""
    for found in spec.constants.found:
        if found.trouble is Trouble.ZERO_DIVISION:
            yield error(__name__, found.span, "this divisor is zero", "divide by something else")

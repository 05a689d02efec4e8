"""Number beyond any use.

Numbers are exact: 1e999999999 would be computed with all its digits. A literal has
at most 60 characters and an exponent of at most 300, and no intermediate result
more than 4096 bits.

Example::

    param huge = 1e999999999

Mend::

    param large = 1000
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._constants import Trouble
from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Report arithmetic whose exact result is too long."""
    for found in spec.constants.found:
        if found.trouble is Trouble.TOO_LARGE:
            message = "the exact value of this has too many digits"
            yield error(__name__, found.span, message, "compute with numbers of usual size")

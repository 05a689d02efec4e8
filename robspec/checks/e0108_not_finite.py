"""Not a finite number.

`nan`, `inf` and their like are no numbers of the language: with them every
comparison would be vacuous.

Example::

    budget nan
    require radius >= inf for all images

Mend::

    budget 0.1
    require radius >= 0.3 for all images
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._constants import Trouble
from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Report names that mean no finite number anywhere."""
    for found in spec.constants.found:
        if found.trouble is Trouble.NOT_FINITE:
            message = f"`{found.word}` is not a finite number"
            yield error(__name__, found.span, message, "write an exact decimal, such as 0.1")

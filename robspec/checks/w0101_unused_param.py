"""Parameter that nothing uses.

It has no effect, and neither has `--set` on it: often a name was mistyped where it
was meant to be used.

Example::

    param eps = 0.1
    budget 0.2

Mend::

    param eps = 0.1
    budget eps
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import warning
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look for parameters never evaluated, unless a skipped statement may have used them."""
    if spec.file.damage:
        return
    for name, param in spec.params.items():
        if name not in spec.constants.used:
            yield warning(__name__, param.name.span, f"nothing uses `{name}`", "use it or remove it")

"""The static checks, one file each; a module's docstring is what `robspec explain` prints.

A module is named after its code and what it is about. One that finds its problem in the resolved
specification has a function `check(spec)`; a code that the parser reports itself has a page only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from robspec import registry
from robspec.checks._derive import example
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic

__all__ = ["Spec", "code_of", "example", "run"]


def code_of(name: str) -> str:
    """The code a check module reports, from its name: e0103_unknown_metric is E0103."""
    return name.partition("_")[0].upper()


def run(spec: Spec, *, lint: bool = False) -> Iterator[Diagnostic]:
    """Apply every check to a specification; those that are a matter of style, `LINT_ONLY`, only where asked to."""
    for module in registry.modules(sys.modules[__name__]):
        check: Callable[[Spec], Any] | None = getattr(module, "check", None)
        if check is not None and (lint or not getattr(module, "LINT_ONLY", False)):
            yield from check(spec)

"""Unknown norm.

The norms are l1, l2, linf, and l(p) with an exact exponent p of at least 1, as in
l(1.5).

Example::

    norm l3
    norm l(0.5)

Mend::

    norm l(3)
    norm l1
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error, shown
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic, did_you_mean
from robspec.syntax import ast
from robspec.syntax.walk import descend

_NAMES = ("l1", "l2", "linf")
_FORMS = "the norms are l1, l2, linf and l(p), as in l(1.5)"


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at every norm."""
    for node in descend(spec.file):
        if not isinstance(node, ast.NormName):
            continue
        if node.exponent is None:
            if node.name not in _NAMES:
                digits = node.name[1:]
                mend = did_you_mean(node.name, _NAMES, _FORMS)
                if node.name.lower() in _NAMES:
                    mend = f"write `{node.name.lower()}`"
                elif node.name[:1] in "lL" and digits.isdigit():
                    mend = f"write `l({digits})`"
                yield error(__name__, node.span, f"there is no norm `{node.name}`", mend)
            continue
        value = spec.value(node.exponent)
        if node.name != "l":
            message = f"`{node.name}` takes no exponent"
            yield error(__name__, node.span, message, _FORMS)
        elif value is not None and value < 1:
            message = f"l({shown(value)}) is no norm: its balls are not convex"
            yield error(__name__, node.exponent.span, message, "write an exponent of at least 1")

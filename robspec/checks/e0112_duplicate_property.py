"""Two properties of one name.

Verdicts, witnesses and resumed runs go by the property's name, so it must be
unique.

Example::

    property accurate {
    }
    property accurate {
    }

Mend::

    property accurate_at_0_1 {
    }
    property accurate_at_0_2 {
    }
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Report every property whose name is taken; one whose name could not be read has none."""
    seen: dict[str, ast.Property] = {}
    for block in spec.properties:
        name = block.name.id
        first = seen.setdefault(name, block)
        if name and first is not block:
            message = f"there is already a property `{name}`, on line {spec.line(first)}"
            yield error(__name__, block.name.span, message, "give each property a name of its own")

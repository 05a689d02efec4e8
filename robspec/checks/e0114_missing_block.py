"""Block that is missing.

A specification has one `model` block, one `data` block and at least one `property`.

Example::

    language 1
    model { ... }

Mend::

    language 1
    model { ... }
    data val { ... }
    property accurate { ... }
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic, Span


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look for each block, unless a skipped statement may have been one."""
    if spec.damaged_outside:
        return
    end = Span(spec.file.span.end, spec.file.span.end)
    present = {"model": spec.model, "data": spec.data, "property": spec.properties or None}
    forms = {"model": "model { ... }", "data": "data val { ... }", "property": "property accurate { ... }"}
    for word, found in present.items():
        if found is None:
            yield error(__name__, end, f"the specification has no `{word}` block", f"add `{forms[word]}`")

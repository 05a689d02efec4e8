"""Binary masks for a model that does not tell two classes apart.

Binary masks hold 0 for the first class and 255 (or 1) for the second, so there must
be two classes.

Example::

    classes background, runway, taxiway
    masks "val/masks/*.png" binary

Mend::

    classes background, runway
    masks "val/masks/*.png" binary
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import count, error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Count the classes."""
    for data in spec.data_blocks:
        masks = spec.statement(data, ast.Masks) or spec.statement(data, ast.Pairs)
        if masks is not None and masks.binary and spec.classes is not None and len(spec.classes) != 2:
            message = f"binary masks tell two classes apart, the model has {count(len(spec.classes), 'class')}"
            yield error(__name__, masks.span, message, "leave out `binary`, and give masks of class indices")

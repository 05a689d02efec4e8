"""Privacy that no training can have.

`epsilon <= 8 at delta 1e-5` bounds what adding or removing one sample of the training
data changes of the model. The bound is above 0, as only a model that has seen nothing
has an epsilon of 0; delta, the chance that it fails, lies between 0 and 1, both left
out, and should be well below one over the number of samples.

Example::

    privacy {
      epsilon <= 8 at delta 0
    }

Mend::

    privacy {
      epsilon <= 8 at delta 1e-5
    }
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error, shown
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Look at both numbers."""
    node = spec.statement(spec.privacy, ast.Epsilon)
    if node is None:
        return
    value, delta = spec.value(node.value), spec.value(node.delta)
    if value is not None and value <= 0:
        message = f"an epsilon of {shown(value)} is kept by no training"
        yield error(__name__, node.value.span, message, "write a number above 0, such as 8")
    if delta is not None and not 0 < delta < 1:
        message = f"{shown(delta)} is not a delta"
        yield error(__name__, node.delta.span, message, "write a number between 0 and 1, such as 1e-5")

"""Both a budget and a degradation, or neither.

A property asks one question. With `budget` it bounds the attack and asks how bad
the metric can get (`worst_case`); with `degraded when` it bounds the metric and
asks how strong an attack must be (`radius`). So exactly one of the two stands in
every property.

Example::

    budget 0.1
    degraded when h <= 0.5

Mend: keep one of them, or write two properties.
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Count the two in every property."""
    for block in spec.properties:
        budget, degraded = spec.statement(block, ast.Budget), spec.statement(block, ast.Degraded)
        if budget is not None and degraded is not None:
            second = max(budget.span, degraded.span)
            message = "a property has a `budget` or a `degraded when`, not both"
            yield error(__name__, second, message, "keep one, or write two properties")
        elif budget is None and degraded is None and not spec.damaged(block):
            message = f"property `{block.name.id}` has neither a `budget` nor a `degraded when`"
            mend = "bound the attack (`budget 0.1`) or the metric (`degraded when h <= 0.5`)"
            yield error(__name__, block.name.span, message, mend)

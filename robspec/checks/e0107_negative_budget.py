"""Negative budget.

A budget is the largest norm of the perturbation, in the units of the declared
input. It is zero or more.

Example::

    budget -0.1

Mend::

    budget 0.1
"""

from __future__ import annotations

from collections.abc import Iterator

from robspec.checks._report import error, shown
from robspec.checks._spec import Spec
from robspec.diagnostics import Diagnostic
from robspec.syntax import ast


def check(spec: Spec) -> Iterator[Diagnostic]:
    """Evaluate every budget, and where a swept one starts."""
    for block in spec.properties:
        for budget in block.statements:
            if not isinstance(budget, ast.Budget):
                continue
            low = budget.value.start if isinstance(budget.value, ast.Sweep) else budget.value
            value = spec.value(low)
            if value is not None and value < 0:
                yield error(__name__, low.span, f"the budget {shown(value)} is negative", "a budget is zero or more")

"""Finds the rule of rounding of an operation."""

from __future__ import annotations

import functools
from collections.abc import Callable

from robspec import registry
from robspec.lipschitz.rounding import rules
from robspec.lipschitz.rounding.charge import Asked, Charge


@functools.cache
def table() -> dict[str, Callable[[Asked], Charge]]:
    """Map operation names (in-place underscore removed) to rules.

    Raises:
        RuntimeError: two rule files name the same operation.
    """
    return {name: module.charge for name, module in registry.by_operation(rules, "rules of rounding").items()}

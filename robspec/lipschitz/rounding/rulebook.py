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
    found: dict[str, Callable[[Asked], Charge]] = {}
    for module in registry.modules(rules):
        for name in module.OPERATIONS:
            if name in found:
                raise RuntimeError(f"two rules of rounding claim the operation {name}")
            found[name] = module.charge
    return found

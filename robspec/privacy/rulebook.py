"""Finds the rule of gradients of an operation."""

from __future__ import annotations

import functools
from collections.abc import Callable

from robspec import registry
from robspec.privacy import rules
from robspec.privacy.asked import Asked, Effect


@functools.cache
def table() -> dict[str, Callable[[Asked], Effect]]:
    """Map operation names (in-place underscore removed) to rules.

    Raises:
        RuntimeError: two rule files name the same operation.
    """
    found: dict[str, Callable[[Asked], Effect]] = {}
    for module in registry.modules(rules):
        for name in module.OPERATIONS:
            if name in found:
                raise RuntimeError(f"two rules of gradients claim the operation {name}")
            found[name] = module.effect
    return found

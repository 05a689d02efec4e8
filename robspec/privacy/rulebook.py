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
    return {name: module.effect for name, module in registry.by_operation(rules, "rules of gradients").items()}

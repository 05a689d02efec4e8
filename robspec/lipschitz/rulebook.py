"""Finds the rule of an operation: each file in robspec/lipschitz/rules/ serves the operations it names."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from robspec import registry
from robspec.lipschitz import rules
from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Step
from robspec.operators import listed

RULES_VERSION = 13
"""Raised whenever a rule changes what it proves; part of every cache key."""


@dataclass(frozen=True)
class Rule:
    """One rule file: what it exposes as `bound`, and optionally as `DATA`.

    Args:
        bound: answers a call with a step, or one per output.
        data: the arguments that may depend on the image; data anywhere else is refused before the rule is
            asked.
    """

    bound: Callable[[Call], Step | Sequence[Step | None]]
    data: frozenset[str]


@functools.cache
def table() -> dict[str, Rule]:
    """Map operation names (in-place underscore removed) to rules.

    Raises:
        RuntimeError: two rule files name the same operation, or one that no model file may call.
    """
    found: dict[str, Rule] = {}
    for name, module in registry.by_operation(rules, "Lipschitz rules").items():
        if not listed(name):
            raise RuntimeError(f"no model file may call {name}: list it in robspec/operators.py, or drop its rule")
        found[name] = Rule(module.bound, frozenset(getattr(module, "DATA", ("self", "input"))))
    return found

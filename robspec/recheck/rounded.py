"""What no certificate about the function over the reals speaks of."""

from __future__ import annotations

from robspec.ir.types import Program, WorstCaseQuery
from robspec.recheck.conditions import conditions


def uncertified(program: Program) -> str:
    """Say what in a program no certificate about the function over the reals speaks of; empty for nothing."""
    for prop in program.properties:
        query = prop.query
        if isinstance(query, WorstCaseQuery):
            continue
        leaves = [leaf for objective in query.objectives for leaf in conditions(objective)]
        if any(not 0 <= leaf.threshold.slope <= 1 for leaf in leaves):
            return f"the threshold of {prop.name} falls with the clean value, or grows faster"
    return ""

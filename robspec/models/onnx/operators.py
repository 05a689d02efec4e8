"""The operators that are read: one file per family in `ops`, found by name."""

from __future__ import annotations

from functools import cache

from robspec import registry
from robspec.models.onnx import ops
from robspec.models.onnx.call import Call, Operator


@cache
def known() -> dict[str, Operator]:
    """Every operator of the standard domain that is read, by name."""
    found: dict[str, Operator] = {}
    for module in registry.modules(ops):
        found.update(module.OPERATORS)
    return found


def named(operator: str, call: Call) -> Operator:
    """Look an operator up.

    Raises:
        UnknownOnnxOperator: E0222.
    """
    found = known().get(operator)
    if found is None:
        domain, _, _ = operator.rpartition("::")
        raise call.refused(f"it is of the domain {domain[:60]!a}" if domain else "robspec has no reading of it")
    return found

"""Type promotion made explicit: what meets data is first rounded to the type the graph computes in."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import fx

from robspec.function.nodes import CARRIERS, STRUCTURAL, arguments, is_pointwise, operation, plain
from robspec.function.program import declared

_NUMBERS = ("number", "Scalar", "Tensor", "Optional[number]", "Optional[Tensor]")
_POSITIONS = frozenset({"condition", "mask", "indices", "index", "dim", "dims"})


def computed_in(node: fx.Node) -> torch.dtype | None:
    """Name the floating-point type in which a node computes, None where it has none.

    Args:
        node: a call on data, its `val` recorded.

    Returns:
        The type of its result; of a comparison, that of its operands.
    """
    value = node.meta.get("val")
    parts = map(declared, value if isinstance(value, list | tuple) else (value,))
    result = next((part for part in parts if part is not None), None)
    if result is not None and result.dtype.is_floating_point:
        return result.dtype
    operands = [declared(s.meta.get("val")) for s in node.all_input_nodes]
    types = [v.dtype for v in operands if v is not None and v.dtype.is_floating_point]
    return types[0] if types else None


def rounded_number(value: object, dtype: torch.dtype) -> object:
    """Round a number to an element type, where that type cannot hold it; anything else is returned as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return value
    try:
        stored = float(torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None).to(dtype))
    except (RuntimeError, OverflowError, ValueError):
        return value
    return value if stored == value or not math.isfinite(stored) else stored


def rounded_tensor(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Cast a tensor to the element type that the operation casts it to; a narrower floating type stays."""
    if tensor.dtype == dtype or tensor.is_complex() or tensor.dtype == torch.bool:
        return tensor
    if tensor.is_floating_point() and torch.finfo(tensor.dtype).bits < torch.finfo(dtype).bits:
        return tensor
    return tensor.to(dtype)


def promotes(node: fx.Node) -> bool:
    """Whether a node brings its operands to one element type before it computes."""
    return is_pointwise(node) or operation(node) in STRUCTURAL


def rounds(node: fx.Node, name: str, kind: str) -> bool:
    """Whether torch converts the number given for an argument to the element type of the data."""
    operator = plain(operation(node))
    if operator in _PADDED:
        return name == "value"
    return kind in _NUMBERS and name not in _POSITIONS and (promotes(node) or operator in _SCALED)


_SCALED = frozenset({"addmm", "baddbmm", "addbmm", "addmv", "addr", *CARRIERS})
"""Operations that are not pointwise and take factors or fillings as numbers."""

_PADDED = frozenset({"pad", "constant_pad_nd"})
"""Operations that put a number around the data."""


def casts(node: fx.Node, name: str) -> bool:
    """Whether torch casts the tensors given for an argument to the element type of the result."""
    return promotes(node) and name not in _POSITIONS


_SOFT_ENOUGH = 40.0
"""log(1 + exp(-40)) is below half a unit in the last place of 40 in float64."""


def with_rounded_numbers(node: fx.Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Write a node's arguments with every number as the graph computes with it in the file's own type.

    Args:
        node: a call on data, its `val` recorded.

    Returns:
        Positional and named arguments.
    """
    dtype = computed_in(node)
    if dtype is None:
        return node.args, dict(node.kwargs)
    given = list(arguments(node))
    rounded = {name: rounded_number(item, dtype) if rounds(node, name, kind) else item for name, kind, item in given}
    if plain(operation(node)) == "softplus":
        # The switch to the identity is meant as rounding: what float32 rounds away at 20, float64 does at 40.
        return (*(rounded[name] for name, _, _ in given if name in ("self", "beta")),), {
            **{name: rounded[name] for name in node.kwargs},
            "threshold": _SOFT_ENOUGH,
        }
    positional = len(node.args)
    names = [name for name, _, _ in given]
    return tuple(rounded[name] for name in names[:positional]), {
        **{name: rounded[name] for name in node.kwargs},
        **_defaults(node, set(names), dtype),
    }


def _defaults(node: fx.Node, given: set[str], dtype: torch.dtype) -> dict[str, object]:
    """Numbers that are left to their defaults and that the element type cannot hold, as it rounds them."""
    schema = getattr(node.target, "_schema", None)
    left = [a for a in schema.arguments if a.name not in given and a.has_default_value()] if schema else []
    rounded = {a.name: rounded_number(a.default_value, dtype) for a in left if rounds(node, a.name, str(a.type))}
    return {a.name: rounded[a.name] for a in left if a.name in rounded and rounded[a.name] != a.default_value}

"""Whether a model file may call an operator, as the file spells it."""

from __future__ import annotations

import re

import torch

from robspec.operators import SIZES, listed

_ATEN = re.compile(r"torch\.ops\.aten\.([A-Za-z_][A-Za-z0-9_]*)\.([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_TENSORS = ("Tensor", "List[Tensor]")
_SIZE_ARITHMETIC = frozenset({"_operator.add", "_operator.mul", "_operator.sub", "_operator.floordiv"})


def allowed(target: str) -> bool:
    """Tell whether a serialised target is a known pure operator.

    Args:
        target: as the archive spells it, such as `torch.ops.aten.conv2d.default`.

    Returns:
        True for a listed operator that gives tensors, or the sizes of one, and does not write to an argument given
        for output; arithmetic of plain numbers, lists and text goes by the same names, and has no bound.
    """
    if target in _SIZE_ARITHMETIC:
        return True
    found = _ATEN.fullmatch(target)
    if found is None or not listed(found[1]):
        return False
    overload = getattr(getattr(torch.ops.aten, found[1], None), found[2], None)
    schema = getattr(overload, "_schema", None)
    if schema is None or any(argument.is_out for argument in schema.arguments):
        return False
    return found[1] in SIZES or all(str(result.type) in _TENSORS for result in schema.returns)

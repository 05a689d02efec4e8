"""Whether a model file may call an operator, as the file spells it."""

from __future__ import annotations

import operator
import re
from typing import Any

import torch

from robspec.operators import SIZES, listed

_ATEN = re.compile(r"torch\.ops\.aten\.([A-Za-z_][A-Za-z0-9_]*)\.([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
_TENSORS = ("Tensor", "List[Tensor]")
SIZE_ARITHMETIC: dict[str, Any] = {
    "_operator.add": operator.add,
    "_operator.mul": operator.mul,
    "_operator.sub": operator.sub,
    "_operator.floordiv": operator.floordiv,
}
"""What sizes are computed with."""


def meant(target: str) -> Any:
    """Find what a name means, listed or not; None for no operator of torch and no arithmetic of sizes."""
    if target in SIZE_ARITHMETIC:
        return SIZE_ARITHMETIC[target]
    found = _ATEN.fullmatch(target)
    return None if found is None else getattr(getattr(torch.ops.aten, found[1], None), found[2], None)


def allowed(target: str) -> bool:
    """Tell whether a serialised target is a known pure operator.

    Args:
        target: as the archive spells it, such as `torch.ops.aten.conv2d.default`.

    Returns:
        True for a listed operator that gives tensors, or the sizes of one, and does not write to an argument given
        for output; arithmetic of plain numbers, lists and text goes by the same names, and has no bound.
    """
    if target in SIZE_ARITHMETIC:
        return True
    found = _ATEN.fullmatch(target)
    if found is None or not listed(found[1]):
        return False
    schema = getattr(meant(target), "_schema", None)
    if schema is None or any(argument.is_out for argument in schema.arguments):
        return False
    return found[1] in SIZES or all(str(result.type) in _TENSORS for result in schema.returns)

"""MaxMin, recognised by structure: the larger and the smaller of two parts of one value, put beside each other."""

from __future__ import annotations

from collections.abc import Mapping

from torch import fx

from robspec.lipschitz.asked import read
from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Value

_EXTREMES = ("aten.maximum.default", "aten.minimum.default", "aten.max.other", "aten.min.other")
"""What torch splits between both at a tie: fmax and fmin do not."""


def parent(value: Value, calls: Mapping[fx.Node, Call]) -> Value | None:
    """Find the value whose parts a concatenation of a maximum and a minimum puts in order.

    In between nothing is trained, and gradients go back without growing: where a > b they are passed through, where
    a < b exchanged, and at a tie each of a and b gets half of both, a matrix of halves, whose norm is 1.

    Args:
        value: any value.
        calls: what computes each value.

    Returns:
        The value that was parted, None where this is no MaxMin.
    """
    call = calls.get(value.node)
    parts = None if call is None else call.arguments.get("tensors")
    if (
        call is None
        or call.name not in ("cat", "concat", "concatenate")
        or not isinstance(parts, list)
        or len(parts) != 2
    ):
        return None
    first, second = parts
    if not isinstance(first, Value) or not isinstance(second, Value):
        return None
    top, low = first.step.pair, second.step.pair
    if top is None or low is None or {top[0], low[0]} != {"max", "min"}:
        return None
    a, b = top[1], top[2]
    if not isinstance(a, Value) or not isinstance(b, Value) or a is b or {a, b} != {low[1], low[2]}:
        return None
    one, other = a.step.piece, b.step.piece
    if one is None or other is None or one.parent is not other.parent or not one.disjoint(other):
        return None
    if any(str(part.node.target) not in _EXTREMES for part in (first, second)):
        return None
    # Not the pieces' parent: that one may be less a bias that was added before.
    parted = [read(calls[half.node]) for half in (a, b) if half.node in calls]
    if len(parted) < 2 or parted[0] != parted[1] or len(parted[0]) != 1:
        return None
    return parted[0][0]

"""Entrywise maximum and minimum: of two values, or of one and a constant."""

from __future__ import annotations

from robspec.lipschitz import directed
from robspec.lipschitz.call import Constant
from robspec.lipschitz.values import Value
from robspec.privacy.asked import Asked, Effect
from robspec.semantics.norm import L2

OPERATIONS = ("maximum", "minimum", "max", "min")


def effect(asked: Asked) -> Effect:
    """Bound what reaches each operand by 1: the larger one takes the gradient, at a tie each takes half."""
    if "other" not in asked.call.arguments:
        raise asked.refuse("it takes the extreme of one value", "sort, or take that of two")
    back: list[tuple[Value, float]] = []
    sizes = []
    for name in ("self", "other"):
        item = asked.call.arguments.get(name)
        if isinstance(item, Value):
            gain = asked.repeated(item)
            back.append((item, gain))
            sizes.append(directed.mul(gain, asked.sizes[item]))
        else:
            constant = item.value if isinstance(item, Constant) else item
            sizes.append(asked.shift(constant, "", asked.occurrences(constant)))
    return Effect(tuple(back), directed.stack(sizes, L2))

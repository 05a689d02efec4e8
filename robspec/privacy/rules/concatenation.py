"""Values put beside each other."""

from __future__ import annotations

from robspec.lipschitz import directed
from robspec.lipschitz.values import Value
from robspec.privacy.asked import Asked, Effect
from robspec.semantics.norm import L2

OPERATIONS = ("cat", "concat", "concatenate", "stack")


def effect(asked: Asked) -> Effect:
    """Bound each part's gradient by the whole."""
    parts = asked.call.arguments.get("tensors")
    values = [part for part in parts if isinstance(part, Value)] if isinstance(parts, list) else []
    if not isinstance(parts, list) or len(values) < len(parts):
        raise asked.refuse("a part does not depend on the image")
    return Effect(tuple((v, 1.0) for v in values), directed.stack([asked.sizes[v] for v in values], L2))

"""Writes the sub-graph behind a node as one text, so that a known formula can be recognised exactly."""

from __future__ import annotations

import torch
from torch import fx

_LARGEST = 4000


def describe(node: fx.Node, names: dict[fx.Node, str]) -> str:
    """Write the computation of a node over named leaves.

    Args:
        node: where to start.
        names: leaves and their names; placeholders and reshaped placeholders met on the way are added as
            t0, t1, ...

    Returns:
        A text such as `sub(mul(x,sin(mul(t0,0.5))),y)`; empty if the sub-graph is too large.
    """
    count = [0]

    def write(item: object) -> str:
        if not isinstance(item, fx.Node):
            return f"{item:.17g}" if isinstance(item, int | float) else str(item)
        # A folded constant is written as the file computes it.
        item = _origin(item)
        count[0] += 1
        if count[0] > _LARGEST:
            return ""
        if item not in names and _leaf(item):
            names[item] = f"t{sum(1 for name in names.values() if name.startswith('t'))}"
        if item in names:
            return names[item]
        name = getattr(getattr(item.target, "overloadpacket", item.target), "__name__", str(item.target))
        return f"{name}({','.join(write(part) for part in (*item.args, *item.kwargs.values()))})"

    text = write(node)
    return text if count[0] <= _LARGEST else ""


def recomputed(node: fx.Node) -> torch.Tensor | None:
    """Evaluate the formula that a folded constant is written as, in float64.

    Args:
        node: the placeholder of a folded constant.

    Returns:
        What the formula gives on the stored tensors, which is what the constant holds only where nothing was
        overwritten or rounded on the way; None where it is not a function of stored tensors.
    """
    leaves = node.meta.get("leaves", {})

    def value(item: object) -> object:
        if isinstance(item, list | tuple):
            return [value(part) for part in item]
        if not isinstance(item, fx.Node):
            return item
        if item.op != "call_function":
            stored = leaves.get(item.name)
            return stored.to(torch.float64) if isinstance(stored, torch.Tensor) else None
        return item.target(*map(value, item.args), **{k: value(v) for k, v in item.kwargs.items()})  # type: ignore[operator]

    source = node.meta.get("folded")
    found = value(source) if isinstance(source, fx.Node) else None
    return found if isinstance(found, torch.Tensor) else None


def _origin(node: fx.Node) -> fx.Node:
    """Find the node of the file that a folded constant was computed by; any other node is its own."""
    while isinstance(node.meta.get("folded"), fx.Node):
        node = node.meta["folded"]
    return node


def _leaf(node: fx.Node) -> bool:
    """Whether a node is a stored tensor, or a stored tensor seen in another shape."""
    if node.op in ("placeholder", "get_attr"):
        return True
    views = ("aten.view.default", "aten.reshape.default", "aten.unsqueeze.default", "aten.detach.default")
    return str(node.target) in views and isinstance(node.args[0], fx.Node) and _leaf(node.args[0])

"""In-place operations: read as out-of-place exactly when nobody reads the overwritten memory later."""

from __future__ import annotations

import torch
from torch import fx


def mutated_inputs(node: fx.Node) -> tuple[fx.Node, ...]:
    """List the nodes whose memory this node overwrites."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return ()
    found = []
    for index, argument in enumerate(schema.arguments):
        if argument.alias_info is None or not argument.alias_info.is_write:
            continue
        passed = node.args[index] if index < len(node.args) else node.kwargs.get(argument.name)
        items = passed if isinstance(passed, list | tuple) else [passed]
        found += [item for item in items if isinstance(item, fx.Node)]
    return tuple(found)


def later_reader(node: fx.Node) -> fx.Node | None:
    """Find a node that reads memory overwritten by this node, through any alias, without going through its
    result.

    Args:
        node: a node of the graph.

    Returns:
        Such a reader, or None when the in-place operation can be read as an out-of-place one.
    """
    overwritten = mutated_inputs(node)
    if not overwritten:
        return None
    order = {other: index for index, other in enumerate(node.graph.nodes)}
    for alias in _aliases(overwritten, node):
        for user in alias.users:
            if user is not node and order[user] > order[node]:
                return user
    return None


def stored_target(node: fx.Node) -> fx.Node | None:
    """Find the stored tensor (weight, buffer, constant, image) whose memory this node overwrites, if any."""
    overwritten = mutated_inputs(node)
    if not overwritten:
        return None
    aliases = _aliases(overwritten, node)
    return next((alias for alias in aliases if alias.op in ("placeholder", "get_attr")), None)


def _aliases(start: tuple[fx.Node, ...], barrier: fx.Node) -> set[fx.Node]:
    """Collect every node that may share memory with these other than through `barrier`, following views both
    ways.
    """
    found = set(start)
    queue = list(start)
    while queue:
        current = queue.pop()
        linked = _shared_inputs(current)
        linked += [user for user in current.users if current in _shared_inputs(user)]
        for other in linked:
            if other not in found and other is not barrier:
                found.add(other)
                queue.append(other)
    return found


def _shared_inputs(node: fx.Node) -> list[fx.Node]:
    """List the inputs whose memory the result of a node may share; composite operations are assumed to share
    all.
    """
    if node.op in ("placeholder", "get_attr", "output"):
        return []
    schema = getattr(node.target, "_schema", None)
    if schema is None or (_composite(node) and str(node.target).split(".")[1] not in _FRESH):
        return list(node.all_input_nodes)
    if str(node.target).split(".")[1] in _UNDECLARED:
        return list(node.all_input_nodes)
    shared: list[fx.Node] = []
    for index, argument in enumerate(schema.arguments):
        if argument.alias_info is not None:
            passed = node.args[index] if index < len(node.args) else node.kwargs.get(argument.name)
            items = passed if isinstance(passed, list | tuple) else [passed]
            shared += [item for item in items if isinstance(item, fx.Node)]
    return shared


def _composite(node: fx.Node) -> bool:
    name = getattr(node.target, "name", None)
    key = "CompositeImplicitAutograd"
    return bool(name is not None and torch._C._dispatch_has_kernel_for_dispatch_key(name(), key))


_UNDECLARED = frozenset({"_unsafe_view"})
"""Operations whose result shares memory although their schema does not say so."""

_FRESH = frozenset(
    {
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "conv_transpose3d",
        "linear",
        "matmul",
        "batch_norm",
        "layer_norm",
        "group_norm",
        "instance_norm",
        "max_pool1d",
        "max_pool2d",
        "max_pool3d",
        "avg_pool1d",
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "adaptive_avg_pool3d",
        "adaptive_max_pool1d",
        "softmax",
        "log_softmax",
        "relu6",
        "selu",
        "prelu",
        "cat",
        "concat",
        "stack",
        "log_sigmoid",
        "upsample_nearest1d",
        "upsample_nearest2d",
        "upsample_nearest3d",
        "upsample_linear1d",
        "upsample_bilinear2d",
        "upsample_trilinear3d",
        "upsample_bicubic2d",
        "scaled_dot_product_attention",
    }
)

"""Reading a graph's nodes: what an operation is called, which of its arguments is which, and what it depends on."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import fx

CHECKS = ("_assert", "sym_constrain", "_functional_assert")
"""Operations that return nothing and only compare."""

SIZES = ("sym_size", "sym_stride", "sym_numel", "sym_storage_offset")
"""Operations that read a number off the shape of a tensor."""

CARRIERS = frozenset(
    {"zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty"}
)
"""Operations that take the shape, the element type or the device of a tensor, and none of its entries."""

STRUCTURAL = frozenset({"cat", "concat", "concatenate", "stack"})
"""Operations besides the pointwise ones that bring their operands to one element type."""


_UNTAGGED = frozenset(
    {"divide", "masked_fill", "multiply", "negative", "_prelu_kernel", "rsub", "subtract", "true_divide", "where"}
)


def operation(node: fx.Node) -> str:
    """Name a node's operation, such as conv2d or relu_, without its namespace and overload."""
    return str(getattr(getattr(node.target, "overloadpacket", node.target), "__name__", node.target))


def plain(name: str) -> str:
    """Drop the underscore of an in-place operation."""
    return name[:-1] if name.endswith("_") and not name.startswith("__") else name


def is_check(node: fx.Node) -> bool:
    """Whether a node only compares, so that it computes nothing that others read."""
    return operation(node).startswith(CHECKS)


def is_size(node: fx.Node) -> bool:
    """Whether a node reads a number off a shape."""
    return operation(node).startswith(SIZES)


def is_pointwise(node: fx.Node) -> bool:
    """Whether the operation works entry by entry, with broadcasting: torch tags most such, and not all."""
    return torch.Tag.pointwise in getattr(node.target, "tags", ()) or plain(operation(node)) in _UNTAGGED


def arguments(node: fx.Node) -> Iterator[tuple[str, str, object]]:
    """List the arguments of a call as given.

    Args:
        node: a call of an operator with a schema.

    Returns:
        Name, type as the schema writes it, and the argument; of a call without schema, its positions and no types.
    """
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        yield from ((str(index), "", item) for index, item in enumerate(node.args))
        yield from ((name, "", item) for name, item in node.kwargs.items())
        return
    for index, argument in enumerate(schema.arguments):
        if index < len(node.args):
            yield argument.name, str(argument.type), node.args[index]
        elif argument.name in node.kwargs:
            yield argument.name, str(argument.type), node.kwargs[argument.name]


def kinds(graph: fx.Graph, image: fx.Node) -> dict[fx.Node, str]:
    """Tell what each node depends on.

    Args:
        graph: the graph.
        image: the placeholder of the image.

    Returns:
        "data" for what is computed from the image's entries, "sized" for what is computed from shapes of such, and
        "constant" for the rest.
    """
    found: dict[fx.Node, str] = {}
    for node in graph.nodes:
        sources = {found[source] for source in node.all_input_nodes}
        if node is image:
            found[node] = "data"
        elif "data" in sources:
            shape_only = node.op == "call_function" and (is_size(node) or operation(node) in CARRIERS)
            found[node] = "sized" if shape_only else "data"
        else:
            found[node] = "sized" if "sized" in sources else "constant"
    return found

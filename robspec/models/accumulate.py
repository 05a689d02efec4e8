"""A graph whose convolutions and linear layers accumulate in float64, and store what they are given."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import TensorArgument

from robspec.function.nodes import operation

_SUMS = frozenset(
    {
        *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution"),
        *("linear", "addmm", "mm", "mv", "matmul"),
    }
)
_CAST = torch.ops.aten.to.dtype


def accumulate(program: ExportedProgram) -> int:
    """Cast what a sum of products is given up to float64, and what it gives down to float32.

    Args:
        program: as torch.export returns it; its graph is changed.

    Returns:
        How many sums. Each is that of the float32 numbers, rounded once when it is stored.
    """
    graph, raised, count = program.graph, dict[fx.Node, fx.Node](), 0
    for node in list(graph.nodes):
        if node.op != "call_function" or operation(node) not in _SUMS or not _single(node):
            continue
        count += 1

        def up(source: fx.Node, before: fx.Node = node) -> fx.Node:
            if source not in raised and _single(source):
                with graph.inserting_before(before):
                    raised[source] = _cast(graph, source, torch.float64, before)
            return raised.get(source, source)

        node.args, node.kwargs = fx.map_arg(node.args, up), fx.map_arg(node.kwargs, up)
        stored = node.meta["val"]
        node.meta["val"] = stored.to(torch.float64)
        with graph.inserting_after(node):
            down = _cast(graph, node, torch.float32, node)
        down.meta["val"] = stored
        node.replace_all_uses_with(down, delete_user_cb=lambda user, kept=down: user is not kept)
        for spec in program.graph_signature.output_specs:
            if spec.arg.name == node.name:
                spec.arg = TensorArgument(down.name)
    graph.lint()
    program.graph_module.recompile()
    return count


def _single(node: fx.Node) -> bool:
    value: Any = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dtype == torch.float32


def _cast(graph: fx.Graph, source: fx.Node, dtype: torch.dtype, like: fx.Node) -> fx.Node:
    made = graph.call_function(_CAST, (source, dtype))
    made.meta.update({key: item for key, item in like.meta.items() if key != "val"})
    made.meta["val"] = source.meta["val"].to(dtype)
    return made

"""The end of a network: a last sigmoid or softmax is taken off, so that the proof speaks of the logits under it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import fx
from torch.export.graph_signature import OutputSpec, TensorArgument

from robspec.function.layout import read
from robspec.function.nodes import arguments, operation, plain
from robspec.function.program import Declared, GraphProgram, declared

COPIES = frozenset({"clone", "contiguous", "detach", "alias", "to", "_to_copy", "lift_fresh"})
_DIMENSIONS = (2, 4)
"""Of a batch of logits: a row, or a map, for each image."""
_OVER_CLASSES = frozenset({"softmax", "_softmax", "_safe_softmax", "log_softmax", "_log_softmax"})


@dataclass(frozen=True)
class Head:
    """What was taken off the end of a program.

    Args:
        program: the program that ends in logits.
        peeled: the operations that were taken off, outermost first; empty where there were none.
    """

    program: GraphProgram
    peeled: tuple[str, ...]


def peel(program: GraphProgram) -> Head:
    """Take a last sigmoid or softmax off a settled program.

    Both are strictly increasing in the logits: the largest of several classes stays the largest, and a single
    probability is above 1/2 exactly where its logit is above 0. So no decision changes. A softmax over a single
    channel, which is 1 whatever its input, stays, and so does a second sigmoid under the first of a single logit.

    Args:
        program: a settled program whose output is [B, K, H, W], [B, K], or [B] of a single logit.

    Returns:
        The program without them, and their names.
    """
    layout = read(program)
    node, result = layout.output, layout.output
    names: list[str] = []
    while True:
        found = _under(node, single=_channels(node) == 1)
        if found is None:
            break
        name, source = found
        if name:
            if names and _channels(node) == 1:
                break
            names.append(name)
            result = source
        node = source
    if not names:
        return Head(program, ())
    return Head(ending_at(program, result), tuple(names))


def peel_sigmoid(program: GraphProgram) -> Head:
    """Take one last sigmoid off a settled program whose output is [B, K, N], scores of locations.

    A threshold of the sigmoid is then one of what lies under it. A second sigmoid stays: it is part of the scores
    that the first is taken of.

    Args:
        program: a settled program.
    """
    node = read(program).output
    while (found := _under(node, single=True)) is not None:
        name, node = found
        if name:
            return Head(ending_at(program, node), (name,))
    return Head(program, ())


def needed(program: GraphProgram) -> GraphProgram:
    """Leave out of a settled program what its output is not computed from."""
    return ending_at(program, read(program).output)


def _channels(node: fx.Node) -> int:
    value = declared(node.meta.get("val"))
    if value is None:
        return 0
    # One number for each image may come without an axis of its own.
    side = 1 if value.dim() == 1 else value.shape[1] if value.dim() in _DIMENSIONS else 0
    return side if isinstance(side, int) else 0


def _under(node: fx.Node, *, single: bool) -> tuple[str, fx.Node] | None:
    """Look under one node: the name of a sigmoid or softmax, empty for a copy, and what it works on."""
    if node.op != "call_function" or not node.args or not isinstance(node.args[0], fx.Node):
        return None
    source, name = node.args[0], plain(operation(node))
    before, after = declared(source.meta.get("val")), declared(node.meta.get("val"))
    if before is None or after is None or before.dtype != after.dtype:
        return None
    if name in COPIES:
        return "", source
    if name == "sigmoid":
        return name, source
    if name in _OVER_CLASSES and not single and after.dim() in _DIMENSIONS:
        dim = next((item for key, _, item in arguments(node) if key == "dim"), None)
        if isinstance(dim, int) and dim % after.dim() == 1:
            return name.strip("_"), source
    return None


def ending_at(program: GraphProgram, node: fx.Node, then: Sequence[fx.Node] = ()) -> GraphProgram:
    """Write the program that returns an earlier node, or what some later ones make of it.

    Args:
        program: a settled program.
        node: one of its nodes.
        then: nodes of one result each, that work on the first of their arguments: the first of them on the node, each
            on the one before, and all else that they take is a weight.
    """
    # Only what the node is computed from: a sigmoid in place would go on overwriting the logits.
    weights = {source for later in then for source in later.all_input_nodes if source is not later.args[0]}
    needed, queue = {node, *weights}, [node, *weights]
    while queue:
        sources = set(queue.pop().all_input_nodes) - needed
        needed |= sources
        queue += sources
    graph, after = fx.Graph(), [f"then {later.name}" for later in then]
    copies: dict[fx.Node, fx.Node] = {}
    for old in program.graph.nodes:
        if old in needed or old.op == "placeholder":
            copies[old] = graph.node_copy(old, copies.__getitem__)
    last = copies[node]
    for later in then:
        last = _working_on(last, later, graph, copies)
    closing = graph.output((last,))
    closing.meta.update(next(n for n in program.graph.nodes if n.op == "output").meta)
    module = fx.GraphModule(torch.nn.Module(), graph)
    module.meta.update(program.graph_module.meta)
    signature = program.graph_signature
    # A copy is named anew where torch keeps the name for Python, as the `input` of an nn.Sequential.
    names = {old.name: copy.name for old, copy in copies.items()}
    begins = [replace(s, arg=replace(s.arg, name=names.get(s.arg.name, s.arg.name))) for s in signature.input_specs]
    ends = [OutputSpec(s.kind, TensorArgument(last.name), s.target) for s in signature.output_specs]
    return GraphProgram(
        graph_module=module,
        graph_signature=type(signature)(begins, ends),
        state_dict=program.state_dict,
        constants=program.constants,
        identity=None if program.identity is None else " ".join([f"{program.identity} up to {node.name}", *after]),
    )


def _working_on(source: fx.Node, later: fx.Node, graph: fx.Graph, copies: Mapping[fx.Node, fx.Node]) -> fx.Node:
    """Copy a node into another graph, to work on another source, whose sides it keeps where it keeps sides."""
    copy = graph.node_copy(later, lambda old: source if old is later.args[0] else copies[old])
    given, before, after = (
        declared(node.meta.get("val")) if isinstance(node, fx.Node) else None
        for node in (source, later.args[0], later)
    )
    if given is None or before is None or after is None or not given.dim() == before.dim() == after.dim():
        raise ValueError(f"nothing is known of what {later.name} makes of its argument")
    sides = zip(given.shape[1:], before.shape[1:], after.shape[1:], strict=True)
    copy.meta["val"] = Declared(after.dtype, (given.shape[0], *(g if b == a else a for g, b, a in sides)))
    return copy

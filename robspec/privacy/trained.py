"""Which trained parameters the logits depend on, and whether each is read as it is stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import fx
from torch.export.graph_signature import InputKind

from robspec.function import nodes
from robspec.function.layout import Layout, read, where
from robspec.function.program import AnyProgram
from robspec.function.settle import lost_parameters
from robspec.privacy.errors import NoSensitivity


@dataclass(frozen=True, slots=True)
class Reading:
    """One place where a trained parameter is read.

    Args:
        parameter: dotted name.
        node: name of the node.
    """

    parameter: str
    node: str


def parameters(program: AnyProgram) -> dict[str, str]:
    """List trained parameters by placeholder; buffers and constants are not trained."""
    specs = program.graph_signature.input_specs
    return {s.arg.name: str(s.target) for s in specs if s.kind is InputKind.PARAMETER and hasattr(s.arg, "name")}


def readings(program: AnyProgram) -> tuple[Reading, ...]:
    """List where trained parameters are read, as far as the logits depend on it.

    Args:
        program: as loaded, before anything is folded.

    Returns:
        Every reading by an operation on data.

    Raises:
        NoSensitivity: E0508, a constant is computed from a parameter.
    """
    lost = lost_parameters(program)
    if lost:
        raise NoSensitivity(
            lost[0],
            "a constant of the graph is computed from this parameter, so that its gradient is not seen in it",
            "use the parameter as it is in an operation on data",
        )
    layout, owners = read(program), parameters(program)
    kinds = nodes.kinds(program.graph, layout.image)
    reached = _reached(layout)
    return tuple(
        found
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in owners
        for found in _of(node, owners[node.name], layout, kinds, reached)
    )


def _of(
    node: fx.Node, parameter: str, layout: Layout, kinds: dict[fx.Node, str], reached: set[fx.Node]
) -> Iterator[Reading]:
    for user in node.users:
        if user not in reached:
            continue
        if kinds[user] != "data":
            raise NoSensitivity(
                where(user, layout),
                f"a constant is computed from the parameter {parameter}: its derivative would belong to the bound",
                "store the weight itself, and bring it back to its constraint after each step",
            )
        yield Reading(parameter, user.name)


def _reached(layout: Layout) -> set[fx.Node]:
    """Everything the logits depend on."""
    found = {layout.output}
    waiting = [layout.output]
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if source not in found:
                found.add(source)
                waiting.append(source)
    return found

"""Programs of chains of layers, put together of layers exported once: export is what a hunt would wait for."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)

from robspec.function.program import Declared, GraphProgram, Size

_BATCH = Size("batch", lambda count: count)


class Named(nn.Module):
    """Any module, of an argument x."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.net(x)
        return found


def exported(net: nn.Module, shape: tuple[int, ...]) -> torch.export.ExportedProgram:
    """Export a network for any number of images of a shape."""
    batch = {"x": {0: torch.export.Dim("batch", min=1, max=64)}}
    return torch.export.export(Named(net), (torch.zeros(2, *shape),), dynamic_shapes=batch)


class Spliced:
    """Puts programs together, and keeps each kind of layer that it met."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, tuple[int, ...]], torch.export.ExportedProgram] = {}

    def program(self, net: nn.Sequential, shape: tuple[int, ...]) -> GraphProgram:
        """Put the program of a chain together; it shares the network's weights.

        Args:
            net: layers that `repr` tells apart, of one input and one output each.
            shape: of an image.
        """
        graph, state, given = fx.Graph(), dict[str, Any](), list[InputSpec]()
        layers = []
        sides = shape
        for place, layer in enumerate(net):
            part = self._part(layer, sides)
            specs = {spec.arg.name: spec for spec in part.graph_signature.input_specs}
            own, places = layer.state_dict(keep_vars=True), {}
            for node in part.graph.nodes:
                if node.op != "placeholder" or specs[node.name].kind == InputKind.USER_INPUT:
                    continue
                spec = specs[node.name]
                places[node] = graph.placeholder(f"p_{place}_{node.name}")
                places[node].meta["val"] = _declared(node.meta["val"])
                target = f"{place}.{spec.target}"
                given.append(InputSpec(spec.kind, TensorArgument(places[node].name), target, spec.persistent))
                state[target] = own[str(spec.target).removeprefix("net.")]
            layers.append((part, places))
            sides = tuple(int(side) for side in _output(part).meta["val"].shape[1:])
        at = graph.placeholder("x")
        at.meta["val"] = Declared(torch.float32, (_BATCH, *shape))
        given.append(InputSpec(InputKind.USER_INPUT, TensorArgument("x"), None))
        for part, places in layers:
            at = _copied(graph, part, places, at)
        graph.output((at,))
        output = [OutputSpec(OutputKind.USER_OUTPUT, TensorArgument(at.name), None)]
        signature = ExportGraphSignature(given, output)
        return GraphProgram(fx.GraphModule(nn.Module(), graph), signature, state, {}, (1, 64))

    def _part(self, layer: nn.Module, shape: tuple[int, ...]) -> torch.export.ExportedProgram:
        key = (repr(layer), shape)
        if key not in self._kept:
            self._kept[key] = exported(layer, shape)
        return self._kept[key]


def _copied(
    graph: fx.Graph, part: torch.export.ExportedProgram, places: dict[fx.Node, fx.Node], at: fx.Node
) -> fx.Node:
    """Copy a layer behind a node."""
    known = dict(places)
    for node in part.graph.nodes:
        if node.op == "placeholder":
            known.setdefault(node, at)
        elif node.op != "output":
            known[node] = graph.node_copy(node, lambda source: known[source])
            known[node].meta = {"val": _declared(node.meta["val"])}
    return known[_output(part)]


def _output(part: torch.export.ExportedProgram) -> fx.Node:
    found: fx.Node = next(node for node in part.graph.nodes if node.op == "output").args[0][0]
    return found


def _declared(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return Declared(value.dtype, tuple(s if isinstance(s, int) else _BATCH for s in value.shape))
    return type(value)(_declared(part) for part in value) if isinstance(value, list | tuple) else value

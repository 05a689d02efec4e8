"""Runs an exported program in float64 on the constants its own element type gives."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from robspec.lipschitz import aliasing
from robspec.lipschitz.errors import UnsuitableProgram
from robspec.lipschitz.program import read

_CHECKS = ("_assert", "sym_constrain", "_functional_assert")
_CASTS = ("to", "_to_copy", "type_as", "float", "double")


class Replay:
    """The function a constant is proved for: folded constants as stored, everything after them in float64.

    Args:
        program: the exported program; state is not changed.
    """

    def __init__(self, program: ExportedProgram) -> None:
        self.layout = read(program)
        self._graph = program.graph
        self._module = program.graph_module
        self._constants: dict[fx.Node, Any] = {}
        self._varying: list[fx.Node] = []
        self._fold()

    def _fold(self) -> None:
        varying = {self.layout.image}
        with torch.no_grad():
            for node in self._graph.nodes:
                if node.op == "output":
                    continue
                if node in varying or any(source in varying for source in node.all_input_nodes):
                    varying.add(node)
                    self._varying.append(node)
                elif node.op == "placeholder":
                    self._constants[node] = self.layout.constants[node.name]
                elif node.op == "get_attr":
                    self._constants[node] = operator.attrgetter(str(node.target))(self._module)
                elif not _name(node).startswith(_CHECKS):
                    self._constants[node] = _run(node, self._cloner(aliasing.mutated_inputs(node)))

    def _cloner(self, mutated: tuple[fx.Node, ...]) -> Callable[[fx.Node], Any]:
        """Look constants up, copying those that the node is about to overwrite."""

        def look(source: fx.Node) -> Any:
            value = self._constants[source]
            return value.clone() if source in mutated else value

        return look

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Evaluate a batch.

        Args:
            images: float64, shape (batch, ...), or the single image's own shape where there is no batch.

        Returns:
            float64 logits.

        Raises:
            UnsuitableProgram: the output is not a tensor.
        """
        values: dict[fx.Node, Any] = {self.layout.image: images}

        def look(source: fx.Node) -> Any:
            if source in values:
                return values[source]
            return _widened(self._constants[source])

        for node in self._varying:
            name = _name(node)
            if node is self.layout.image or name.startswith(_CHECKS):
                continue
            if name in _CASTS and isinstance(node.args[0], fx.Node) and node.args[0] in values:
                values[node] = values[node.args[0]]
                continue
            values[node] = _run(node, look)
        result = values.get(self.layout.output)
        if not isinstance(result, torch.Tensor):
            raise UnsuitableProgram(
                self.layout.output.name, "the output is not a tensor of data", "return the logits"
            )
        return result

    def one(self, image: torch.Tensor) -> torch.Tensor:
        """Evaluate a single image, also where the program was exported for a fixed batch of several.

        Args:
            image: float64, the shape of one image with a batch axis of 1 where there is a batch.

        Returns:
            Its float64 logits.
        """
        axis, (first, second) = self.layout.axis, self.layout.batches
        if axis is None or first != second:
            return self(image)
        results = self(image.repeat_interleave(first, dim=axis))
        return results[: results.shape[0] // first]


def _name(node: fx.Node) -> str:
    return str(getattr(getattr(node.target, "overloadpacket", node.target), "__name__", node.target))


def _run(node: fx.Node, look: Callable[[fx.Node], Any]) -> Any:
    function: Callable[..., Any] = node.target  # type: ignore[assignment]
    return function(*fx.map_arg(node.args, look), **fx.map_arg(node.kwargs, look))


def _widened(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.to(torch.float64)
    return value

"""An ONNX graph as a PyTorch module: constants folded, every other node a step that torch.export can follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from robspec.models.onnx import sizing
from robspec.models.onnx.call import Call, Constant, Sizes, Value
from robspec.models.onnx.errors import UnknownOnnxOperator, UnsafeOnnx
from robspec.models.onnx.graph import Array, Graph, Node
from robspec.models.onnx.operators import named
from robspec.models.shapes import MOST_VALUES

_MOST_FOLDED = 1 << 28
"""Numbers of all constants that the graph computes from its weights."""


class _Step(nn.Module):
    """One node; a module of its own so that its name reaches every message about the archive."""

    def __init__(self, node: Node, opset: int, where: str) -> None:
        super().__init__()
        self.node, self.opset, self.where = node, opset, f"{where}: node {node.name}"

    def forward(self, inputs: tuple[Value | None, ...], used: Any) -> tuple[Value, ...]:
        call = Call(self.node, self.opset, inputs, self.where, used)
        try:
            sized = sizing.compute(call) if any(isinstance(i, Sizes) for i in inputs) else None
            found = named(self.node.operator, call)(call) if sized is None else sized
            call.finish()
        except (UnknownOnnxOperator, UnsafeOnnx):
            raise
        except Exception as error:
            reason = str(error).strip().splitlines()
            raise UnsafeOnnx(
                self.where,
                f"{self.node.operator} does not fit its inputs: {(reason or [repr(error)])[0][:200]}",
                "write the file again with the exporter it came from",
            ) from error
        return (found,) if isinstance(found, Tensor | Constant | Sizes) else tuple(found)


class Network(nn.Module):
    """Maps [B, C, H, W] to what the graph's one output is.

    Args:
        graph: cut at its output, with one input that is not fixed.
        images: name of that input.
        where: the file, for errors.
        fixed: numbers that channels of the input hold which are no channels of the images.

    Raises:
        UnknownOnnxOperator: E0222.
        UnsafeOnnx: E0221, a constant would be too large.
    """

    def __init__(self, graph: Graph, images: str, where: str, fixed: Mapping[int, float]) -> None:
        super().__init__()
        self._where, self._images, self._output = where, images, graph.outputs[0]
        self._fixed = sorted(fixed.items())
        self._constants, rest = _folded(graph, where)
        self._names: dict[int, str] = {}
        self._steps: list[tuple[Node, str]] = []
        for node in rest:
            self.add_module(node.name, _Step(node, graph.opset, where))
            self._steps.append((node, node.name))

    def settle(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Follow one batch's shape through the graph, and hold the constants that meet data.

        Args:
            shape: of the batch.

        Returns:
            The output's shape.

        Raises:
            UnsafeOnnx: E0221, a value would be too large, or operators do not fit together.
        """
        met: dict[int, Constant] = {}
        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            output = self._run(torch.empty(shape), lambda c: met.setdefault(id(c), c), bounded=True)
        for constant in met.values():
            if constant.held is None:
                name = f"constant_{len(self._names)}"
                self.register_buffer(name, torch.from_numpy(constant.array))
                self._names[id(constant)] = name
        return tuple(int(side) for side in output.shape)

    def forward(self, images: Tensor) -> Tensor:
        return self._run(images, lambda _: None, bounded=False)

    def _run(self, images: Tensor, used: Any, *, bounded: bool) -> Tensor:
        values: dict[str, Value | None] = {"": None, self._images: self._assembled(images)}
        for name, constant in self._constants.items():
            held = self._names.get(id(constant))
            values[name] = constant if held is None else Constant(constant.array, getattr(self, held))
        for node, step in self._steps:
            found = getattr(self, step)(tuple(values[i] for i in node.inputs), used)
            if bounded:
                _bound(found, f"{self._where}: node {node.name}", MOST_VALUES)
            values.update(zip(node.outputs, found, strict=False))
        output = values[self._output]
        if not isinstance(output, Tensor):
            raise UnsafeOnnx(self._where, "the output does not depend on the images", "choose another --output")
        return output

    def _assembled(self, images: Tensor) -> Tensor:
        """Put the fixed channels where the graph expects them."""
        for channel, number in self._fixed:
            beside = torch.full_like(images[:, :1], number)
            images = torch.cat([images[:, :channel], beside, images[:, channel:]], dim=1)
        return images


def _folded(graph: Graph, where: str) -> tuple[dict[str, Constant], list[Node]]:
    """Compute what depends on no input, each value first without data to learn its size."""
    known = {name: Constant(array) for name, array in graph.constants.items()}
    rest: list[Node] = []
    total = 0
    for node in graph.nodes:
        if not all(name in known or not name for name in node.inputs):
            rest.append(node)
            continue
        step = _Step(node, graph.opset, where)
        inputs = tuple(known[name] if name else None for name in node.inputs)
        with torch.no_grad():
            with FakeTensorMode(allow_non_fake_inputs=True) as mode:
                total += _bound(step(_without_data(inputs, mode), _unheeded), step.where, _MOST_FOLDED - total)
            found = step(inputs, _unheeded)
        for name, value in zip(node.outputs, found, strict=False):
            known[name] = value if isinstance(value, Constant) else Constant(_plain(value))
    return known, rest


def _without_data(inputs: tuple[Constant | None, ...], mode: FakeTensorMode) -> tuple[Constant | None, ...]:
    return tuple(
        given if given is None else Constant(given.array, mode.from_tensor(torch.from_numpy(given.array)))
        for given in inputs
    )


def _plain(value: Sizes | Tensor) -> Array:
    if isinstance(value, Sizes):
        return np.asarray(value.numbers.tolist(), dtype=np.int64)
    found: Array = value.detach().contiguous().numpy()
    return found


def _unheeded(_constant: Constant) -> None:
    """Constants among themselves need not be held."""


def _bound(found: Iterable[Value], where: str, most: int) -> int:
    total = 0
    for value in found:
        size = value.numel() if isinstance(value, Tensor) else 0
        if size > most:
            raise UnsafeOnnx(where, f"a value would hold {size} numbers", "check its origin")
        total += size
    return total

"""An ONNX graph of checked parts: nodes in order, constants as tensors, no protocol buffer left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robspec.models.onnx.errors import BY_NAME, OnnxInterface

Array = npt.NDArray[np.generic]
Option = int | float | str | Array | tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One call of an operator.

    Args:
        operator: its name, preceded by its domain where that is not the standard one.
        name: of the node, of letters, digits and underscores; unique.
        inputs: names of values; empty for one that is left out.
        outputs: names of values.
        options: its attributes; None for one of a kind that is not read, such as a graph.
    """

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    options: Mapping[str, Option | None]


@dataclass(frozen=True, slots=True)
class Images:
    """An input of the graph.

    Args:
        sides: its sides; None for one that is free.
        kind: ONNX's number of its element type.
    """

    sides: tuple[int | None, ...]
    kind: int


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph whose every value is computed before it is used, and once.

    Args:
        nodes: in order.
        constants: stored arrays by name.
        inputs: what has to be given, by name.
        outputs: names.
        opset: version of the standard operator set.
        ir: version of the format.
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, Array]
    inputs: Mapping[str, Images]
    outputs: tuple[str, ...]
    opset: int
    ir: int

    def cut(self, output: str | None, where: str) -> Graph:
        """Keep what one value is computed from.

        Args:
            output: its name; None for the only output.
            where: the file, for errors.

        Returns:
            The graph that ends there.

        Raises:
            OnnxInterface: E0223, no such value, or several outputs and none named.
        """
        if output is None and len(self.outputs) != 1:
            raise OnnxInterface(
                where,
                f"the graph has {len(self.outputs)} outputs: {shown(self.outputs)}",
                f"name the logits {BY_NAME}",
            )
        wanted = self.outputs[0] if output is None else output
        known = {name for node in self.nodes for name in node.outputs}
        if wanted not in known:
            raise OnnxInterface(
                where,
                f"no node of the graph computes {wanted[:80]!r}",
                f"its outputs are {shown(self.outputs)}; values near the end: {shown(self._last())}",
            )
        needed, kept = {wanted}, []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                kept.append(node)
                needed.update(name for name in node.inputs if name)
        return Graph(
            nodes=tuple(reversed(kept)),
            constants={k: v for k, v in self.constants.items() if k in needed},
            inputs={k: v for k, v in self.inputs.items() if k in needed},
            outputs=(wanted,),
            opset=self.opset,
            ir=self.ir,
        )

    def _last(self) -> tuple[str, ...]:
        """Names that a message can suggest: the last values that convolutions and products compute."""
        likely = [
            n.outputs[0] for n in self.nodes if n.operator in ("Conv", "ConvTranspose", "Gemm", "MatMul", "Resize")
        ]
        return tuple(likely[-3:]) or tuple(n.outputs[0] for n in self.nodes[-3:])

    def suggestion(self) -> str:
        """Say which values may be the logits."""
        return f"cut it at its logits {BY_NAME}; values near the end: {shown(self._last())}"


def shown(names: tuple[str, ...]) -> str:
    """List a few names of a file for a message, in plain characters."""
    listed = ", ".join(ascii(name[:60])[1:-1] for name in names[:6])
    return listed + (", ..." if len(names) > 6 else "") if names else "none"

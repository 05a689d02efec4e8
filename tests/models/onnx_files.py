"""Small ONNX files for the tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

OPSET = 20


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def model(
    nodes: Sequence[Any],
    stored: Mapping[str, np.ndarray],
    shape: Sequence[int | str] = ("B", 3, 8, 8),
    *,
    output: str = "y",
    opset: int = OPSET,
    inputs: Sequence[Any] = (),
) -> Any:
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [image, *inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)


def node(operator: str, *inputs: str, to: str | Sequence[str] = "y", domain: str = "", **options: Any) -> Any:
    outputs = [to] if isinstance(to, str) else list(to)
    return helper.make_node(operator, list(inputs), outputs, domain=domain, **options)


def network(**options: Any) -> Any:
    """Two convolutions; the inner value `h` is a map of logits too."""
    return model(
        [
            node("Conv", "x", "w", "b", to="h", pads=[1, 1, 1, 1], name="/first/Conv"),
            node("Relu", "h", to="r"),
            node("Conv", "r", "v", to="y", name="/last/Conv"),
        ],
        {"w": weights(4, 3, 3, 3), "b": weights(4), "v": weights(2, 4, 1, 1)},
        **options,
    )

"""What onnxruntime computes of the graph that was read, on the images that the archive is run on."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robspec.models.onnx.errors import OnnxDiffers
from robspec.models.onnx.extra import package
from robspec.models.onnx.graph import Graph, Option

IMAGES = 8
_FLOAT = {torch.float32: 1, torch.float64: 11}


def examples(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Images to compare on: black, white, noise over [0, 1], over [-2, 2], and of black and white alone.

    Args:
        shape: C, H, W.
        dtype: float32 or float64.

    Returns:
        [8, C, H, W], the same every time.
    """
    draw = torch.Generator().manual_seed(0)
    noise = torch.rand((IMAGES - 2, *shape), generator=draw, dtype=torch.float64)
    wide = 4.0 * noise[2:4] - 2.0
    parts = [torch.zeros((1, *shape)), torch.ones((1, *shape)), noise[:2], wide, (noise[4:] > 0.5).double()]
    return torch.cat([part.double() for part in parts]).to(dtype)


class Runtime:
    """onnxruntime on a graph written anew from its checked parts, without optimisation, on one thread.

    Args:
        graph: cut at its output.
        where: the file, for errors.

    Raises:
        OnnxDiffers: E0224, the runtime refuses it.
    """

    def __init__(self, graph: Graph, where: str, images: str, dtype: torch.dtype) -> None:
        runtime = package("onnxruntime", where)
        self._where, self._images = where, images
        self.version: str = runtime.__version__
        options = runtime.SessionOptions()
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = runtime.InferenceSession(
                _written(graph, dtype), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise self._failed(error) from error

    def run(self, images: Tensor, fixed: Mapping[str, Tensor], size: int) -> npt.NDArray[Any]:
        """Compute the output for images, `size` at a time."""
        others = {name: held.numpy() for name, held in fixed.items()}
        parts = []
        try:
            for start in range(0, len(images), size):
                given = {self._images: images[start : start + size].numpy(), **others}
                parts.append(self._session.run(None, given)[0])
        except Exception as error:
            raise self._failed(error) from error
        return np.concatenate(parts)

    def _failed(self, error: Exception) -> OnnxDiffers:
        return OnnxDiffers(
            self._where,
            f"onnxruntime {self.version} cannot run the graph: {ascii(str(error)[:300])[1:-1]}",
            "write the file again with the exporter it came from",
        )


def _written(graph: Graph, dtype: torch.dtype) -> bytes:
    onnx: Any = importlib.import_module("onnx")
    helper, arrays = onnx.helper, onnx.numpy_helper
    nodes = []
    for node in graph.nodes:
        raw = helper.make_node(node.operator, node.inputs, node.outputs, name=node.name)
        for name, option in node.options.items():
            raw.attribute.append(_attribute(helper, arrays, name, option))
        nodes.append(raw)
    inputs = [
        helper.make_tensor_value_info(name, images.kind, [side or f"side_{i}" for i, side in enumerate(images.sides)])
        for name, images in graph.inputs.items()
    ]
    output = helper.make_tensor_value_info(graph.outputs[0], _FLOAT[dtype], None)
    stored = [arrays.from_array(array, name) for name, array in graph.constants.items()]
    made = helper.make_graph(nodes, "graph", inputs, [output], stored)
    opset = helper.make_opsetid("", graph.opset)
    model = helper.make_model(made, opset_imports=[opset], ir_version=max(4, min(graph.ir, 13)))
    content: bytes = model.SerializeToString()
    return content


def _attribute(helper: Any, arrays: Any, name: str, option: Option | None) -> Any:
    if isinstance(option, np.ndarray):
        return helper.make_attribute(name, arrays.from_array(option))
    kinds = {int: 2, float: 1, str: 3}
    if isinstance(option, tuple):
        kind = 6 if option and isinstance(option[0], float) else 7
        return helper.make_attribute(name, list(option), attr_type=kind)
    return helper.make_attribute(name, option, attr_type=kinds[type(option)])

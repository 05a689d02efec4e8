"""Reads an ONNX file as hostile: every part is copied by type into a graph of our own, or refused."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from robspec.models.onnx.errors import UnknownOnnxOperator, UnsafeOnnx
from robspec.models.onnx.external import Beside
from robspec.models.onnx.extra import package
from robspec.models.onnx.graph import Array, Graph, Images, Node, Option

OLDEST = 11
MOST_NODES = 100_000
MOST_NUMBERS = 1 << 30
"""Of one stored tensor."""
_PLAIN = re.compile(r"[^A-Za-z0-9_]+")
_AGAIN = "write the file again with the exporter it came from"
_KINDS: dict[int, tuple[str, str]] = {
    1: ("<f4", "float_data"),
    2: ("u1", "int32_data"),
    3: ("i1", "int32_data"),
    5: ("<i2", "int32_data"),
    6: ("<i4", "int32_data"),
    7: ("<i8", "int64_data"),
    9: ("?", "int32_data"),
    11: ("<f8", "double_data"),
}
"""NumPy's name of each element type that is read, and the field it is stored in where it is not raw."""


@dataclass(frozen=True, slots=True)
class Read:
    """What a file holds.

    Args:
        graph: its graph.
        sha256: of the file, and of the files of weights beside it where there are some.
    """

    graph: Graph
    sha256: str


def read(blob: bytes, path: Path) -> Read:
    """Read a model.

    Args:
        blob: the file's bytes.
        path: where it lies; weights may lie in the same folder.

    Returns:
        Its graph, in which each value is computed once and before it is used.

    Raises:
        MissingExtra: E0870.
        UnsafeOnnx: E0221.
        UnknownOnnxOperator: E0222, another operator set than can be read.
    """
    onnx = package("onnx", str(path))
    model = onnx.ModelProto()
    try:
        model.ParseFromString(blob)
    except Exception as error:
        raise UnsafeOnnx(str(path), f"it is no ONNX model: {str(error)[:120]}", _AGAIN) from error
    return _Reading(onnx, model, Beside(path, blob)).run()


class _Reading:
    """One reading of one model."""

    def __init__(self, onnx: Any, model: Any, beside: Beside) -> None:
        self._onnx, self._model, self._beside = onnx, model, beside
        self._where = str(beside.path)
        self._names: set[str] = set()

    def run(self) -> Read:
        graph = self._model.graph
        opset = self._opset()
        if len(graph.node) > MOST_NODES:
            self._refuse(f"it has {len(graph.node)} nodes")
        if graph.sparse_initializer:
            self._refuse("it stores sparse weights, which are not read")
        constants: dict[str, Array] = {}
        for stored in graph.initializer:
            if stored.name in constants:
                self._refuse(f"two weights are called {self._short(stored.name)}")
            constants[stored.name] = self._tensor(stored)
        inputs = {i.name: self._images(i) for i in graph.input if i.name not in constants}
        known = {"", *constants, *inputs}
        nodes = []
        for raw in graph.node:
            node = self._node(raw)
            late = [name for name in node.inputs if name not in known]
            if late:
                self._refuse(
                    f"node {node.name} uses {self._short(late[0])}, which nothing before it computes: a cycle?"
                )
            twice = [name for name in node.outputs if name and name in known]
            if twice or len({n for n in node.outputs if n}) != len([n for n in node.outputs if n]):
                self._refuse(f"node {node.name} computes a value that there is already")
            known.update(node.outputs)
            nodes.append(node)
        outputs = tuple(o.name for o in graph.output)
        ir = int(self._model.ir_version)
        return Read(Graph(tuple(nodes), constants, inputs, outputs, opset, ir), self._beside.digest())

    def _opset(self) -> int:
        found = [int(o.version) for o in self._model.opset_import if o.domain in ("", "ai.onnx")]
        if len(found) != 1:
            self._refuse(f"it names {len(found)} versions of the standard operator set")
        newest = int(self._onnx.defs.onnx_opset_version())
        if not OLDEST <= found[0] <= newest:
            raise UnknownOnnxOperator(
                self._where,
                f"its operator set is {found[0]}; read are {OLDEST} to {newest}",
                "export the network again, or convert the file with onnx.version_converter",
            )
        return found[0]

    def _node(self, raw: Any) -> Node:
        operator = raw.op_type if raw.domain in ("", "ai.onnx") else f"{raw.domain}::{raw.op_type}"
        base = _PLAIN.sub("_", raw.name).strip("_")[:80] or f"{_PLAIN.sub('_', raw.op_type)[:40]}_{len(self._names)}"
        base = base if base[0].isalpha() else f"node_{base}"
        name = base if base not in self._names else f"{base}_{len(self._names)}"
        self._names.add(name)
        options: dict[str, Option | None] = {}
        for attribute in raw.attribute:
            if attribute.name in options or attribute.ref_attr_name:
                self._refuse(f"node {name} has the attribute {self._short(attribute.name)} twice, or from elsewhere")
            options[attribute.name] = self._option(attribute)
        return Node(operator, name, tuple(raw.input), tuple(raw.output), options)

    def _option(self, attribute: Any) -> Option | None:
        kinds = self._onnx.AttributeProto
        if attribute.type == kinds.INT:
            return int(attribute.i)
        if attribute.type == kinds.FLOAT:
            return float(attribute.f)
        if attribute.type == kinds.STRING:
            return bytes(attribute.s[:1000]).decode("utf-8", "replace")
        if attribute.type == kinds.INTS:
            return tuple(int(i) for i in attribute.ints)
        if attribute.type == kinds.FLOATS:
            return tuple(float(f) for f in attribute.floats)
        if attribute.type == kinds.TENSOR:
            return self._tensor(attribute.t)
        return None

    def _images(self, declared: Any) -> Images:
        if not declared.type.HasField("tensor_type"):
            return Images((), 0)
        sides = [int(d.dim_value) if d.HasField("dim_value") else 0 for d in declared.type.tensor_type.shape.dim]
        return Images(tuple(s if s > 0 else None for s in sides), int(declared.type.tensor_type.elem_type))

    def _tensor(self, stored: Any) -> Array:
        """Copy a stored tensor whose size is exactly what its shape says."""
        name = self._short(stored.name)
        sides = [int(d) for d in stored.dims]
        if len(sides) > 8 or any(side < 0 for side in sides):
            self._refuse(f"the tensor {name} has the shape {sides[:9]}")
        count = math.prod(sides)
        if count > MOST_NUMBERS:
            self._refuse(f"the tensor {name} would hold {count} numbers")
        kind, field = _KINDS.get(stored.data_type, ("", ""))
        if not kind:
            called = self._onnx.TensorProto.DataType.Name(stored.data_type) if 0 <= stored.data_type < 29 else "?"
            self._refuse(
                f"the tensor {name} is of type {called}; read are floats of 32 and 64 bits, integers, truths"
            )
        dtype = np.dtype(kind)
        if stored.data_location == self._onnx.TensorProto.EXTERNAL:
            raw = self._beside.part({e.key: e.value for e in stored.external_data}, count * dtype.itemsize, name)
        elif stored.HasField("raw_data"):
            raw = stored.raw_data
        else:
            listed = getattr(stored, field)
            if len(listed) != count:
                self._refuse(f"the tensor {name} of shape {sides} holds {len(listed)} numbers")
            return self._array(listed, dtype, sides, name)
        if len(raw) != count * dtype.itemsize:
            self._refuse(f"the tensor {name} of shape {sides} holds {len(raw)} bytes")
        return np.frombuffer(raw, dtype=dtype).copy().reshape(sides)

    def _array(self, listed: Any, dtype: np.dtype[Any], sides: list[int], name: str) -> Array:
        try:
            return np.array(listed, dtype=dtype).reshape(sides)
        except OverflowError:
            self._refuse(f"the tensor {name} holds numbers that are none of its type")

    @staticmethod
    def _short(name: str) -> str:
        return ascii(name[:60])

    def _refuse(self, what: str) -> NoReturn:
        _refuse(self._where, what)


def _refuse(where: str, what: str) -> NoReturn:
    raise UnsafeOnnx(where, what, _AGAIN)

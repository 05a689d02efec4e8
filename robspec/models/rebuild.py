"""A checked program made into one that runs, without torch's own loader, whose imports take longer than a check."""

from __future__ import annotations

import ast
import keyword
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    OutputSpec,
    TensorArgument,
)

from robspec.function.program import Declared, GraphProgram, Size
from robspec.models.operators import SIZE_ARITHMETIC, meant
from robspec.models.sanitise import Checked
from robspec.models.tensors import DTYPES

_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d, 4: torch.preserve_format}
_CPU = torch.device("cpu")
_MADE: dict[str, Callable[[Iterable[int]], int]] = {"Add": sum, "Mul": math.prod, "Max": max, "Min": min}
_SEPARATOR = ";"


def rebuild(checked: Checked) -> GraphProgram:
    """Build the program of a checked archive, node for node the one that `torch.export.load` builds.

    Args:
        checked: every part of it has passed.

    Returns:
        The program.

    Raises:
        ValueError, LookupError, TypeError, AttributeError, RuntimeError: the parts do not fit together.

    Source:
        torch 2.13.0, torch/_export/serde/schema.py: what each field means.
    """
    module, values = checked.program["graph_module"], _Values()
    signature = _signature(module["signature"])
    graph = _Graph(values, module["graph"]).run()
    _check_places(graph, signature)
    weights, constants = (_tensors(table, checked.records, folder) for folder, table, _ in checked.stored())
    batch = None
    if len(values.symbols) == 1:
        ends = checked.program["range_constraints"].get(next(iter(values.symbols)))
        batch = None if ends is None else (ends["min_val"] or 0, ends["max_val"])
    program = fx.GraphModule(torch.nn.Module(), graph)
    return GraphProgram(program, signature, weights, constants, batch, checked.identity())


def _check_places(graph: fx.Graph, signature: ExportGraphSignature) -> None:
    """The signature must speak of the graph's own inputs, in their order, and of its result."""
    places = [node.name for node in graph.nodes if node.op == "placeholder"]
    if places != [spec.arg.name for spec in signature.input_specs]:
        raise ValueError("its signature names other inputs than its graph")
    (result,) = next(node for node in graph.nodes if node.op == "output").args[0]
    if [result.name] != [spec.arg.name for spec in signature.output_specs]:
        raise ValueError("its signature names another output than its graph")


class _Values:
    """What the file declares of sizes and tensors."""

    def __init__(self) -> None:
        self.symbols: set[str] = set()
        """Those that sizes were computed from."""
        self._known: dict[str, int | Size] = {}

    def size(self, value: Mapping[str, Any]) -> int | Size:
        """One size: a number, or what an expression of symbols gives for the size of a batch."""
        if "as_int" in value:
            return int(value["as_int"])
        text = value["as_expr"]["expr_str"]
        if text not in self._known:
            tree = ast.parse(text, mode="eval").body
            at = self._computed(tree)
            symbol = tree.id if isinstance(tree, ast.Name) else _name(tree) if _calls(tree) == "Symbol" else text
            self._known[text] = Size(symbol, at)
        return self._known[text]

    def tensor(self, value: Mapping[str, Any]) -> Declared:
        """A tensor of the declared type and sides."""
        return Declared(DTYPES[value["dtype"]], tuple(self.size(side) for side in value["sizes"]))

    def _computed(self, tree: ast.expr) -> Callable[[int], int]:
        """Read an expression that `robspec.models.symbols` wrote."""
        if isinstance(tree, ast.Name) or _calls(tree) == "Symbol":
            self.symbols.add(tree.id if isinstance(tree, ast.Name) else _name(tree))
            return lambda batch: batch
        name, parts = _calls(tree), tree.args if isinstance(tree, ast.Call) else []
        if name == "Integer":
            number = int(ast.literal_eval(parts[0]))
            return lambda _: number
        function, inner = _MADE[name], [self._computed(part) for part in parts]
        return lambda batch: function(part(batch) for part in inner)


def _calls(tree: ast.expr) -> str:
    return tree.func.id if isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) else ""


def _name(tree: ast.expr) -> str:
    return str(ast.literal_eval(tree.args[0])) if isinstance(tree, ast.Call) else ""


class _Graph:
    """One pass over the serialised nodes, which writes torch's."""

    def __init__(self, values: _Values, serialised: Mapping[str, Any]) -> None:
        self._values, self._from = values, serialised
        self._graph = fx.Graph()
        self._nodes: dict[str, fx.Node] = {}

    def run(self) -> fx.Graph:
        """Write placeholders, calls and the output."""
        for given in self._from["inputs"]:
            name = given["as_tensor"]["name"]
            self._declare(name, self._graph.placeholder(name))
        for node in self._from["nodes"]:
            self._call(node)
        (result,) = (self._nodes[o["as_tensor"]["name"]] for o in self._from["outputs"])
        self._graph.output((result,)).meta["val"] = (result.meta["val"],)
        return self._graph

    def _declare(self, name: str, node: fx.Node) -> None:
        """Name a node as the file does, and say what the file declares of it."""
        if name in self._nodes:
            raise ValueError(f"{name} is computed twice")
        node.name = name
        self._nodes[name] = node
        node.meta["val"] = self._declared(name)

    def _declared(self, name: str) -> object:
        if name in self._from["tensor_values"]:
            return self._values.tensor(self._from["tensor_values"][name])
        return self._values.size(self._from["sym_int_values"][name])

    def _call(self, node: Mapping[str, Any]) -> None:
        target, outputs = meant(node["target"]), node["outputs"]
        name = node["name"] or None
        keywords: dict[str, Any] = {}
        if node["target"] in SIZE_ARITHMETIC or (isinstance(target, torch._ops.OpOverload) and _gives_size(target)):
            args = tuple(self._argument(given["arg"]) for given in node["inputs"])
            name = name or outputs[0]["as_sym_int"]["as_name"]
        else:
            args, keywords = self._arguments(target, node["inputs"])
            if name is None and _gives_tensor(target):
                name = outputs[0]["as_tensor"]["name"]
        made = self._graph.create_node("call_function", target, args, keywords, name)
        meta = _metadata(node["metadata"])
        if len(outputs) == 1 and set(outputs[0]) <= {"as_tensor", "as_sym_int"}:
            kind, inner = next(iter(outputs[0].items()))
            self._declare(inner["name"] if kind == "as_tensor" else inner["as_name"], made)
        elif len(outputs) == 1 and "as_none" in outputs[0]:
            made.meta["val"] = None
            made._rename(f"{self._graph._target_to_str(target)}_unused")
        elif outputs:
            parts = outputs[0]["as_tensors"] if len(outputs) == 1 else outputs
            made.meta["val"] = tuple(self._part(made, n, part, meta) for n, part in enumerate(parts))
            self._nodes[made.name] = made
        made.meta.update(meta)

    def _part(self, whole: fx.Node, index: int, part: Mapping[str, Any], meta: Mapping[str, Any]) -> object:
        """Write the node that takes one of several results."""
        if "as_none" in part:
            taken = self._graph.create_node("call_function", operator.getitem, (whole, index), name="as_none")
            taken.meta["val"] = None
        else:
            name = part.get("as_tensor", part)["name"]
            taken = self._graph.create_node("call_function", operator.getitem, (whole, index), name=name)
            self._declare(name, taken)
        taken.meta.update(meta)
        return taken.meta["val"]

    def _arguments(self, target: Any, inputs: list[dict[str, Any]]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Sort what is given into places and keywords, by the operation's own list of arguments."""
        if len({i["name"] for i in inputs}) < len(inputs):
            raise ValueError("an argument is given twice")
        given = {i["name"]: (i["arg"], i["kind"]) for i in inputs}
        if set(given) - {argument.name for argument in target._schema.arguments}:
            raise ValueError("an argument is given that the operation does not take")
        args, keywords, gap = [], {}, False
        for argument in target._schema.arguments:
            if argument.name not in given:
                if not argument.has_default_value() and not argument.kwarg_only:
                    raise KeyError(argument.name)
                gap = True
                continue
            written, kind = given[argument.name]
            _check_kind(argument, next(iter(written)))
            value = self._argument(written)
            by_keyword = kind == _KEYWORD and not keyword.iskeyword(argument.name)
            placed = not argument.has_default_value() and not argument.kwarg_only
            if by_keyword or not (kind == _POSITIONAL or placed or keyword.iskeyword(argument.name)):
                keywords[argument.name] = value
            elif gap:
                raise ValueError(f"{argument.name} would take the place of an argument before it")
            else:
                args.append(value)
                continue
            gap = True
        return tuple(args), keywords

    def _argument(self, value: Mapping[str, Any]) -> Any:
        ((kind, inner),) = value.items()
        if kind == "as_none":
            return None
        if kind == "as_tensor":
            return self._nodes[inner["name"]]
        if kind == "as_tensors":
            return [self._nodes[part["name"]] for part in inner]
        if kind == "as_optional_tensors":
            return [None if "as_none" in part else self._nodes[part["as_tensor"]["name"]] for part in inner]
        if kind == "as_sym_int":
            return self._size(inner)
        if kind == "as_sym_ints":
            return [self._size(part) for part in inner]
        if kind in ("as_scalar_type", "as_memory_format"):
            return DTYPES[inner] if kind == "as_scalar_type" else _FORMATS[inner]
        if kind in ("as_layout", "as_device"):
            return torch.strided if kind == "as_layout" else _CPU
        if kind == "as_optional_tensor":
            raise ValueError(kind)
        if kind in ("as_float", "as_floats"):  # infinity and no number are written as text
            return [float(part) for part in inner] if isinstance(inner, list) else float(inner)
        return list(inner) if isinstance(inner, list) else inner

    def _size(self, value: Mapping[str, Any]) -> Any:
        return value["as_int"] if "as_int" in value else self._nodes[value["as_name"]]


_POSITIONAL, _KEYWORD = 1, 2
_OWN_KIND = {
    "bool": "as_bool",
    "ScalarType": "as_scalar_type",
    "Layout": "as_layout",
    "Device": "as_device",
    "MemoryFormat": "as_memory_format",
    "Generator": "as_none",
}
"""What torch would read from numbers too, and rules would not."""


def _check_kind(argument: Any, kind: str) -> None:
    """A flag, a type, a layout or a device is given as such: torch takes 1 for true, and rules do not."""
    asked = str(argument.real_type)
    plain = asked.removeprefix("Optional[").removesuffix("]") if asked.startswith("Optional[") else asked
    wanted = _OWN_KIND.get(plain)
    if wanted is not None and kind != wanted and not (kind == "as_none" and asked != plain):
        raise ValueError(f"{argument.name} is a {plain}, and is given {kind.replace('_', ' ')}")


def _gives_tensor(target: Any) -> bool:
    returns = target._schema.returns
    return len(returns) == 1 and isinstance(returns[0].real_type, torch.TensorType)


def _gives_size(target: torch._ops.OpOverload) -> bool:
    return target in (torch.ops.aten.sym_size.int, torch.ops.aten.sym_stride.int, torch.ops.aten.sym_numel.default)


def _metadata(given: Mapping[str, str]) -> dict[str, Any]:
    """Where a node comes from, for messages."""
    found: dict[str, Any] = {}
    if given.get("stack_trace"):
        found["stack_trace"] = given["stack_trace"]
    if given.get("nn_module_stack"):
        entries = (_split(entry) for entry in given["nn_module_stack"].split(_SEPARATOR))
        found["nn_module_stack"] = {key: (path, kind) for key, path, kind in entries}
    if given.get("torch_fn"):
        found["torch_fn"] = tuple(given["torch_fn"].split(_SEPARATOR))
    return found


def _split(entry: str) -> tuple[str, str, str]:
    """Cut at the commas that stand in no bracket."""
    parts, depth = [""], 0
    for letter in entry:
        depth += (letter in "[(") - (letter in ")]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    key, path, kind = parts
    return key, path, kind


def _signature(given: Mapping[str, Any]) -> ExportGraphSignature:
    inputs = []
    for spec in given["input_specs"]:
        ((kind, fields),) = spec.items()
        if kind == "user_input":
            name = fields["arg"]["as_tensor"]["name"]
            inputs.append(InputSpec(InputKind.USER_INPUT, TensorArgument(name), None))
        else:
            target = fields[_STORED[kind][1]]
            argument = TensorArgument(fields["arg"]["name"])
            inputs.append(InputSpec(_STORED[kind][0], argument, target, fields.get("persistent")))
    (end,) = given["output_specs"]
    result = TensorArgument(end["user_output"]["arg"]["as_tensor"]["name"])
    return ExportGraphSignature(inputs, [OutputSpec(OutputKind.USER_OUTPUT, result, None)])


_STORED = {
    "parameter": (InputKind.PARAMETER, "parameter_name"),
    "buffer": (InputKind.BUFFER, "buffer_name"),
    "tensor_constant": (InputKind.CONSTANT_TENSOR, "tensor_constant_name"),
}


def _tensors(table: Mapping[str, Any], records: Mapping[str, bytes], folder: str) -> dict[str, Any]:
    """Read stored tensors; those of one record share its memory, as they did when they were written."""
    memory: dict[str, Tensor] = {}
    found: dict[str, Any] = {}
    for name, entry in table["config"].items():
        meta, record = entry["tensor_meta"], entry["path_name"]
        shape, strides = ([side["as_int"] for side in meta[of]] for of in ("sizes", "strides"))
        dtype = DTYPES[meta["dtype"]]
        if record not in memory:
            stored = records[folder + record]
            whole = torch.empty(len(stored) // dtype.itemsize, dtype=dtype)
            if stored:
                whole.copy_(torch.frombuffer(bytearray(stored), dtype=dtype))
            memory[record] = whole
        if not math.prod(shape):
            tensor = torch.zeros(shape, dtype=dtype)
        else:
            tensor = memory[record].as_strided(shape, strides, meta["storage_offset"]["as_int"])
        found[name] = torch.nn.Parameter(tensor, requires_grad=False) if entry["is_param"] else tensor
    return found

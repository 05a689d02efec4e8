"""The program of an archive: its graph and signature, copied from the parts that are understood."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from robspec.models import guards, operators, outputs, sides, strict, symbols, tensors
from robspec.models.choice import WHOLE, Choice
from robspec.models.errors import ModelChoice, ModelInterface, UnknownOperator

_LEAF: dict[str, Any] = {"type": None, "context": None, "children_spec": []}
_IN_SPEC = (
    '[1, {"type": "builtins.tuple", "context": "null", "children_spec": [{"type": "builtins.tuple", '
    '"context": "null", "children_spec": [{"type": null, "context": null, "children_spec": []}]}, '
    '{"type": "builtins.dict", "context": "[]", "children_spec": []}]}]'
)
_OUT_SPEC = '[1, {"type": null, "context": null, "children_spec": []}]'
_CONTAINERS = frozenset({"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"})
_SCHEMA_MAJOR = 8
_VERIFIERS = ("ATEN", "TRAINING")
_NODES = 200_000
_STANDARD = "export the model in evaluation mode with standard operators only"
_MENDS = {
    "torch.ops.higher_order.wrap_with_set_grad_enabled": (
        "export with `robspec export --arch package.module:factory`, or call `torch.export.export` yourself, in "
        "evaluation mode and under `torch.no_grad()`"
    )
}
_INSTANCE_NORM = "torch.ops.aten.instance_norm."
_OWN_STATISTICS = (
    "use a norm with fixed statistics, BatchNorm2d or InstanceNorm2d(..., track_running_stats=True) in evaluation "
    "mode, and train again; `model.eval()` alone changes nothing here"
)


def program(
    value: Any, where: str, choice: Choice = WHOLE, shape: tuple[int, int, int] | None = None
) -> dict[str, Any]:
    """Check a serialised program and copy it, field by field.

    Args:
        value: the parsed `models/model.json`.
        where: the file and record, for the error.
        choice: which of several outputs is meant.
        shape: C, H, W, where the program leaves sides of its images free; or None.

    Returns:
        A program of plain names, integers and allowed operators, with one image input and one output, in which no
        side but that of the batch is free.

    Raises:
        UnsafeArchive: E0207, text that torch would evaluate or paste into code.
        UnknownOperator: E0208.
        ModelInterface: E0209, not one input and one output.
        ModelChoice: E0225, an output or a size that has to be chosen is not.
        InconsistentArchive: E0212, anything outside the format.
    """
    if choice.fixed or choice.image:
        what = "inputs are named and fixed in an ONNX graph; an archive of torch.export has one input"
        raise ModelChoice(where, what, "leave out --fix and the name in --input")
    fields = strict.mapping(value, where)
    version = strict.mapping(fields.get("schema_version"), where)
    if version.get("major") != _SCHEMA_MAJOR:
        strict.wrong(where, f"its schema is version {str(version.get('major'))[:20]}, not {_SCHEMA_MAJOR}")
    opsets = strict.mapping(fields.get("opset_version"), where)
    module = strict.mapping(fields.get("graph_module"), where)
    _refuse_written_images(module.get("signature"), where)
    _call_graph(module.get("module_call_graph"), where)
    module = outputs.chosen(module, choice.output, where)
    known = sides.fixed(module, fields.get("range_constraints"), choice.shape or shape, where)
    verifiers = strict.sequence(fields.get("verifiers", []), where, 8)
    if any(v not in _VERIFIERS for v in verifiers):
        strict.wrong(where, f"it names verifiers other than {', '.join(_VERIFIERS)}")
    root: dict[str, Any] = {"inputs": [], "outputs": [], "in_spec": _IN_SPEC, "out_spec": _OUT_SPEC}
    root["forward_arg_names"] = None
    checked = {
        "graph_module": {
            "graph": _graph(module.get("graph"), where, known),
            "signature": _signature(module.get("signature"), where),
            "module_call_graph": [{"fqn": "", "signature": root}],
            "metadata": {},
            "treespec_namedtuple_fields": {},
        },
        "opset_version": {"aten": strict.integer(opsets.get("aten"), where, 0, 10_000)},
        "range_constraints": symbols.ranges(fields.get("range_constraints"), where, known),
        "schema_version": {
            "major": _SCHEMA_MAJOR,
            "minor": strict.integer(version.get("minor"), where, 0, 10_000),
        },
        "verifiers": list(verifiers),
        "torch_version": strict.plain(fields.get("torch_version", ""), where),
        "guards_code": [],
    }
    guards.of_program(checked, fields.get("guards_code"), where)
    return checked


def _graph(value: Any, where: str, known: Mapping[str, int]) -> dict[str, Any]:
    fields = strict.mapping(value, where)
    for kind in ("custom_obj_values", "sym_bool_values", "sym_float_values"):
        if fields.get(kind):
            strict.unsafe(where, f"the graph holds {kind.replace('_', ' ')}, which robspec does not read")
    returned = strict.sequence(fields.get("outputs"), where)
    if len(returned) != 1 or strict.union(returned[0], where)[0] != "as_tensor":
        raise ModelInterface(
            where,
            f"the model has {len(returned)} outputs, or one that is not a tensor",
            "export a module that returns the logits alone",
        )
    if fields.get("is_single_tensor_return"):
        strict.wrong(where, "the graph is a sub-graph")
    nodes = strict.sequence(fields.get("nodes"), where, _NODES)
    tensor_values = strict.mapping(fields.get("tensor_values"), where)
    size_values = strict.mapping(fields.get("sym_int_values"), where)
    return {
        "inputs": [_tensor(i, where) for i in strict.sequence(fields.get("inputs"), where)],
        "outputs": [_tensor(returned[0], where)],
        "nodes": [_node(n, f"{where}: node {i}") for i, n in enumerate(nodes)],
        "tensor_values": {strict.name(k, where): tensors.meta(v, where, known) for k, v in tensor_values.items()},
        "sym_int_values": {strict.name(k, where): symbols.size(v, where, known) for k, v in size_values.items()},
        "sym_bool_values": {},
        "is_single_tensor_return": False,
        "custom_obj_values": {},
        "sym_float_values": {},
    }


def _node(value: Any, where: str) -> dict[str, Any]:
    fields = strict.mapping(value, where)
    target = strict.plain(fields.get("target"), where)
    if not operators.allowed(target):
        what = f"the graph calls {target[:120]!r}, which is not a listed operator"
        raise UnknownOperator(where, what, _MENDS.get(target, _STANDARD))
    label = fields.get("name")
    inputs = [_named(i, where) for i in strict.sequence(fields.get("inputs"), where, 4096)]
    for given in inputs:
        if given["name"] in ("train", "training", "use_input_stats") and given["arg"] != {"as_bool": False}:
            if target.startswith(_INSTANCE_NORM) and _without_statistics(inputs):
                raise UnknownOperator(
                    where, f"{target} normalises each image by its own mean and variance", _OWN_STATISTICS
                )
            raise UnknownOperator(
                where, f"{target} runs in training mode", "call model.eval() before exporting the model"
            )
        if given["name"] == "dropout_p" and given["arg"] not in ({"as_float": 0.0}, {"as_int": 0}):
            raise UnknownOperator(
                where, f"{target} drops entries at random", "call model.eval(), or give attention a dropout_p of 0"
            )
    return {
        "target": target,
        "inputs": inputs,
        "outputs": [_argument(o, where) for o in strict.sequence(fields.get("outputs"), where, 4096)],
        "metadata": _metadata(fields.get("metadata"), where),
        "is_hop_single_tensor_return": None,
        "name": None if label is None else strict.name(label, where),
    }


def _without_statistics(inputs: list[dict[str, Any]]) -> bool:
    """Tell whether a norm has no running statistics to use, not even in evaluation mode."""
    return not any(given["name"] == "running_mean" and "as_none" not in given["arg"] for given in inputs)


def _metadata(value: Any, where: str) -> dict[str, str]:
    """Where a node comes from, for messages only; whatever is not plain text is left out."""
    kept = {}
    fields = strict.mapping(value, where)
    for key in ("nn_module_stack", "torch_fn"):
        text = fields.get(key)
        if isinstance(text, str) and text.isascii() and text.isprintable():
            kept[key] = text
    trace = fields.get("stack_trace")
    if isinstance(trace, str) and len(trace) < 20_000 and trace.replace("\n", "").isprintable():
        kept["stack_trace"] = trace
    return kept


def _named(value: Any, where: str) -> dict[str, Any]:
    fields = strict.mapping(value, where)
    kind = fields.get("kind")
    label = fields.get("name")
    return {
        "name": "" if label == "" else _parameter(label, where),
        "arg": _argument(fields.get("arg"), where),
        "kind": None if kind is None else strict.integer(kind, where, 0, 2),
    }


def _parameter(value: Any, where: str) -> str:
    """An operator's own parameter name: torch looks it up in the operator's schema, and pastes no other."""
    return strict.word(value, where)


def _tensor(value: Any, where: str) -> dict[str, Any]:
    tag, inner = strict.union(value, where)
    if tag == "as_custom_obj":
        strict.unsafe(where, "the graph takes a custom object, which only unpickling could make")
    if tag != "as_tensor":
        raise ModelInterface(
            where,
            f"the graph has an input or output that is {tag[3:]}, not a tensor",
            "export images -> logits",
        )
    return {"as_tensor": _reference(inner, where)}


def _reference(value: Any, where: str) -> dict[str, Any]:
    return {"name": strict.name(strict.mapping(value, where).get("name"), where)}


def _symbolic(value: Any, where: str) -> dict[str, Any]:
    tag, inner = strict.union(value, where)
    if tag == "as_name":
        return {"as_name": strict.name(inner, where)}
    if tag != "as_int":
        strict.wrong(where, f"{tag[:40]} is not a size")
    return {"as_int": strict.integer(inner, where)}


def _optional(value: Any, where: str) -> dict[str, Any]:
    tag, inner = strict.union(value, where)
    return {"as_none": True} if tag == "as_none" else _tensor({tag: inner}, where)


def _each(read: Callable[[Any, str], Any]) -> Callable[[Any, str], list[Any]]:
    return lambda value, where: [read(v, where) for v in strict.sequence(value, where)]


def _memory_format(value: Any, where: str) -> int:
    return strict.integer(value, where, 1, 4)


_ARGUMENTS: dict[str, Callable[[Any, str], Any]] = {
    "as_none": lambda _value, _where: True,
    "as_tensor": _reference,
    "as_tensors": _each(_reference),
    "as_int": strict.integer,
    "as_ints": _each(strict.integer),
    "as_float": strict.number,
    "as_floats": _each(strict.number),
    "as_bool": strict.boolean,
    "as_bools": _each(strict.boolean),
    "as_string": strict.plain,
    "as_sym_int": _symbolic,
    "as_sym_ints": _each(_symbolic),
    "as_scalar_type": tensors.dtype,
    "as_memory_format": _memory_format,
    "as_layout": tensors.layout,
    "as_device": tensors.device,
    "as_optional_tensor": _optional,
    "as_optional_tensors": _each(_optional),
}


def _argument(value: Any, where: str) -> dict[str, Any]:
    tag, inner = strict.union(value, where)
    if tag not in _ARGUMENTS:
        strict.unsafe(where, f"an argument is {tag[:40]!r}, which is not a plain value")
    return {tag: _ARGUMENTS[tag](inner, where)}


_INPUT_TARGETS = {
    "parameter": "parameter_name",
    "buffer": "buffer_name",
    "tensor_constant": "tensor_constant_name",
}


def _signature(value: Any, where: str) -> dict[str, Any]:
    fields = strict.mapping(value, where)
    inputs = [_input(i, where) for i in strict.sequence(fields.get("input_specs"), where)]
    images = sum("user_input" in i for i in inputs)
    if images != 1:
        raise ModelInterface(
            where, f"the model takes {images} inputs", "export a module whose forward takes the images alone"
        )
    ends = strict.sequence(fields.get("output_specs"), where)
    kinds = [strict.union(o, where)[0] for o in ends]
    if kinds != ["user_output"]:
        raise ModelInterface(
            where,
            f"the model has outputs {', '.join(kinds)[:200]}: it must return the logits and change no state",
            "export it in evaluation mode, returning the logits alone",
        )
    returned = strict.mapping(ends[0]["user_output"], where).get("arg")
    return {"input_specs": inputs, "output_specs": [{"user_output": {"arg": _tensor(returned, where)}}]}


def _refuse_written_images(signature: Any, where: str) -> None:
    """A write to the input counts as an output of its own, and the reason is not that there are too many."""
    ends = strict.sequence(strict.mapping(signature, where).get("output_specs"), where)
    if any(strict.union(o, where)[0] == "user_input_mutation" for o in ends):
        raise ModelInterface(
            where,
            "the model writes to its input, the images themselves",
            "let forward begin with `images = images.clone()`, or write the operation out of place",
        )


def _input(value: Any, where: str) -> dict[str, Any]:
    tag, inner = strict.union(value, where)
    fields = strict.mapping(inner, where)
    if tag == "user_input":
        return {"user_input": {"arg": _tensor(fields.get("arg"), where)}}
    if tag == "custom_obj":
        strict.unsafe(where, "the model takes a custom object, which only unpickling could make")
    if tag not in _INPUT_TARGETS:
        raise ModelInterface(where, f"the model takes an input of kind {tag[:40]}", "export images -> logits")
    key = _INPUT_TARGETS[tag]
    spec: dict[str, Any] = {
        "arg": _reference(fields.get("arg"), where),
        key: strict.plain(fields.get(key), where),
    }
    if tag == "buffer":
        spec["persistent"] = strict.boolean(fields.get("persistent"), where)
    return {tag: spec}


def _call_graph(value: Any, where: str) -> None:
    """The calling structure is not used, and its text is checked all the same: torch would import from it."""
    for entry in strict.sequence(value, where):
        signature = strict.mapping(entry, where).get("signature")
        if signature is None:
            continue
        fields = strict.mapping(signature, where)
        for key in ("in_spec", "out_spec"):
            text = strict.plain(fields.get(key), where)
            spec = strict.sequence(strict.parse(text.encode(), f"{where}: {key}"), where)
            if len(spec) != 2 or spec[0] != 1:
                strict.wrong(where, f"{key} is of an unknown protocol")
            _tree(spec[1], f"{where}: {key}", 0)


def _tree(value: Any, where: str, depth: int) -> None:
    fields = strict.mapping(value, where)
    if fields == _LEAF:
        return
    if fields.get("type") not in _CONTAINERS or depth > 16:
        strict.unsafe(where, f"the container {str(fields.get('type'))[:80]!r} would be looked up by name")
    context = fields.get("context")
    if context != "null":
        keys = strict.parse(strict.plain(context, where).encode(), where)
        if not isinstance(keys, list) or not all(isinstance(k, str) for k in keys):
            strict.unsafe(where, "a container's context is not a list of names")
    for child in strict.sequence(fields.get("children_spec"), where):
        _tree(child, where, depth + 1)

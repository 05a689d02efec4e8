"""Reads an exported program: its one image input, its weights, and where each node came from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import fx
from torch.export.graph_signature import ConstantArgument, InputKind, InputSpec, OutputKind, TensorArgument

from robspec.function.errors import NotFinite, UnsuitableProgram
from robspec.function.program import AnyProgram, declared

_EVALUATION = "export the model after model.eval(), returning the logits only"


@dataclass(frozen=True, eq=False)
class Layout:
    """The fixed facts of a program.

    Args:
        image: the placeholder of the image.
        shape: the image's shape for one image; the batch axis holds 1.
        axis: the batch axis, None where the program takes a single image as its whole input.
        batches: two batch sizes to trace with, equal where the batch is fixed.
        dtype: the image's element type.
        constants: weights, buffers and constants by placeholder name.
        owners: by placeholder name, the dotted name of the weight.
        output: the node that computes the logits.
    """

    image: fx.Node
    shape: tuple[int, ...]
    axis: int | None
    batches: tuple[int, int]
    dtype: torch.dtype
    constants: dict[str, object]
    owners: dict[str, str]
    output: fx.Node


def read(program: AnyProgram) -> Layout:
    """Check that a program is one function of one image, and collect its constants.

    Raises:
        UnsuitableProgram: several inputs or outputs, mutated state, a dynamic image size, integer images.
        NotFinite: a weight is NaN or infinite.
    """
    constants: dict[str, object] = {}
    owners: dict[str, str] = {}
    images: list[str] = []
    for spec in program.graph_signature.input_specs:
        if isinstance(spec.arg, ConstantArgument):
            constants[spec.arg.name] = spec.arg.value
        elif spec.kind is InputKind.USER_INPUT and isinstance(spec.arg, TensorArgument):
            images.append(spec.arg.name)
        elif spec.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR) and spec.target:
            tensor = stored(program, spec)
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise NotFinite(spec.target, "the stored weight is not finite", "repair it and export again")
            constants[spec.arg.name] = tensor
            owners[spec.arg.name] = spec.target
        else:
            raise UnsuitableProgram(
                str(spec.arg), f"the program takes an input of kind {spec.kind.name}", _EVALUATION
            )
    if len(images) != 1:
        raise UnsuitableProgram(
            ", ".join(images) or "inputs", "the program needs exactly one image input", _EVALUATION
        )
    results = program.graph_signature.output_specs
    for result in results:
        if result.kind is not OutputKind.USER_OUTPUT:
            what = f"the forward pass changes state ({result.kind.name.lower()} {result.target})"
            raise UnsuitableProgram(str(result.target), what, _EVALUATION)
    nodes = {node.name: node for node in program.graph.nodes}
    outputs = [r.arg.name for r in results if isinstance(r.arg, TensorArgument)]
    if len(outputs) != 1 or len(results) != 1:
        raise UnsuitableProgram("outputs", f"the program returns {len(results)} values, not one tensor", _EVALUATION)
    image = nodes[images[0]]
    shape, axis, batches, dtype = _image_shape(image)
    return Layout(image, shape, axis, batches, dtype, constants, owners, nodes[outputs[0]])


def image_node(program: AnyProgram) -> fx.Node:
    """Find the placeholder of the image in a program of one image input."""
    places = (node for node in program.graph.nodes if node.op == "placeholder")
    pairs = zip(places, program.graph_signature.input_specs, strict=True)
    found: fx.Node = next(node for node, spec in pairs if spec.kind is InputKind.USER_INPUT)
    return found


def stored(program: AnyProgram, spec: InputSpec) -> torch.Tensor:
    """Find the tensor that a placeholder stands for, where torch has it: a name may occur in both tables.

    Args:
        program: the program.
        spec: of a parameter, a buffer or a constant.

    Raises:
        UnsuitableProgram: it is not there.
    """
    target = str(spec.target)
    kept = spec.kind is InputKind.PARAMETER or (spec.kind is InputKind.BUFFER and spec.persistent is not False)
    found = (program.state_dict if kept else program.constants).get(target)
    if not isinstance(found, torch.Tensor):
        raise UnsuitableProgram(target, "the program's archive does not hold this tensor", "export the model again")
    return found.detach()


def _image_shape(image: fx.Node) -> tuple[tuple[int, ...], int | None, tuple[int, int], torch.dtype]:
    value = declared(image.meta.get("val"))
    if value is None or value.dim() == 0:
        raise UnsuitableProgram(image.name, "the image input is not a tensor of known shape", _EVALUATION)
    if not value.dtype.is_floating_point:
        what = f"the image input has element type {value.dtype}"
        raise UnsuitableProgram(image.name, what, "feed floating-point images; scale integers before the model")
    sides: list[object] = list(value.shape)
    rest: list[int] = []
    for dim, side in enumerate(sides[1:], start=1):
        if isinstance(side, int):
            rest.append(side)
        else:
            what = f"dimension {dim} of the image is dynamic ({side}): the constant depends on the image size"
            raise UnsuitableProgram(image.name, what, "export with a fixed size; only the batch may be dynamic")
    first = sides[0]
    if not isinstance(first, int):
        return (1, *rest), 0, (2, 3), value.dtype
    if len(sides) >= 4 and first > 1:
        return (1, *rest), 0, (first, first), value.dtype
    return (first, *rest), None, (1, 1), value.dtype


def module_path(node: fx.Node, owners: dict[str, str]) -> str:
    """Name the module a node was exported from: recorded path, else the owner of a weight it reads, else
    empty.
    """
    stack = node.meta.get("nn_module_stack")
    if stack:
        paths = [str(entry[0]) for entry in stack.values() if isinstance(entry, tuple)]
        if paths and paths[-1]:
            return re.sub(r"^L\['self'\]\.?", "", paths[-1])
    for argument in node.all_input_nodes:
        owner = owners.get(argument.name, "")
        if "." in owner:
            return owner.rsplit(".", 1)[0]
    return ""


def source_line(node: fx.Node) -> str:
    """Quote the line of model code a node was exported from, or say that the archive does not record it."""
    trace = node.meta.get("stack_trace")
    if not trace:
        return "source line not recorded in the archive"
    frames = re.findall(r'File "([^"]+)", line (\d+), in [^\n]*\n?([^\n]*)', trace)
    own = [frame for frame in frames if not _of_torch(frame[0])]
    if not own:
        return "in torch's own code" if frames else "source line not recorded in the archive"
    path, number, line = own[-1]
    return f"{path}:{number}: {line.strip()}"


def _of_torch(path: str) -> bool:
    """Whether a file is torch's; archives of earlier versions shorten its path to `modules/conv.py`."""
    parts = re.split(r"[/\\]", path)
    return "torch" in parts[:-1] or (len(parts) == 2 and parts[0] == "modules" and parts[1] in _layers())


@cache
def _layers() -> frozenset[str]:
    return frozenset(path.name for path in Path(torch.nn.modules.__path__[0]).glob("*.py"))


def where(node: fx.Node, layout: Layout) -> str:
    """Name a node, its module and its line of model code, for a message."""
    path = module_path(node, layout.owners)
    return f"node {node.name} ({node.target}), module {path or '(top)'}, {source_line(node)}"

"""Checking what a program says of its values against what computing them would give."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

import robspec
from robspec.errors import RobspecError
from robspec.function.program import AnyProgram, Declared, GraphProgram, Size, declared
from robspec.function.running import state_inputs
from robspec.kept import directory, keep, kept
from robspec.models.errors import InconsistentArchive, ModelInterface, ModelTooLarge

MOST_VALUES = 1 << 31


class _Shapes(fx.Interpreter):
    """Propagates shapes without data, and compares each with the one the file declares."""

    def __init__(self, program: AnyProgram, batch: int, where: str) -> None:
        super().__init__(program.graph_module, garbage_collect_values=True)
        self._where = where
        self._batch = batch

    def run_node(self, n: fx.Node) -> Any:
        found = super().run_node(n)
        if n.op in ("call_function", "placeholder"):
            self._compare(n, n.meta.get("val"), found)
        return found

    def _compare(self, node: fx.Node, value: Any, found: Any) -> None:
        if isinstance(found, (tuple, list)):
            if not isinstance(value, (tuple, list)) or len(value) != len(found):
                raise InconsistentArchive(
                    f"{self._where}: {node.name}",
                    f"computing it gives {len(found)} values, which the file does not declare",
                    "export the model again",
                )
            for d, f in zip(value, found, strict=True):
                if d is not None:  # a value that nothing reads is declared as none
                    self._compare(node, d, f)
            return
        if not isinstance(found, Tensor):
            return
        if found.numel() > MOST_VALUES:
            raise ModelTooLarge(
                f"{self._where}: {node.name}",
                f"a value would hold {found.numel()} numbers",
                "check its origin",
            )
        stated = declared(value)
        if stated is None:
            raise InconsistentArchive(
                f"{self._where}: {node.name}", "the file declares no tensor for it", "export the model again"
            )
        shape = tuple(self._number(n) for n in stated.shape)
        if shape != tuple(found.shape) or stated.dtype != found.dtype:
            raise InconsistentArchive(
                f"{self._where}: {node.name}",
                f"the file says {list(shape)} {stated.dtype}, computing it gives {list(found.shape)} {found.dtype}",
                "export the model again",
            )

    def _number(self, size: Any) -> int:
        if isinstance(size, torch.SymInt):
            expression = size.node.expr
            return int(expression.subs(dict.fromkeys(expression.free_symbols, self._batch)))
        return size.at(self._batch) if isinstance(size, Size) else int(size)


class _MetaShapes(_Shapes):
    """The same by tensors that never have data: several times faster, and not able to run every operator."""

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target is _ASSERTION:
            kwargs = {name: value for name, value in kwargs.items() if name != "device"}
        elif isinstance(target, torch._ops.OpOverload) and any(a.name == "device" for a in target._schema.arguments):
            kwargs = {**kwargs, "device": _META}
        return super().call_function(target, args, kwargs)


_META = torch.device("meta")
_ASSERTION = torch.ops.aten._assert_tensor_metadata.default


def check_shapes(program: AnyProgram, images: tuple[int, ...], dtype: torch.dtype, where: str) -> Declared:
    """Propagate one batch's shape through a program, without data or memory.

    Proofs about a model read the shapes its nodes declare, so a false one would make a proof false. What passed once
    is kept by its hash: torch computes shapes without data by Python code that takes seconds to import.

    Args:
        program: an exported program of one image input.
        images: [B, C, H, W].
        dtype: of the images.
        where: the file, for the error.

    Returns:
        Type and sides of the output.

    Raises:
        InconsistentArchive: E0212, a declared shape or dtype is not the computed one.
        ModelInterface: E0209, an in-place operator reaches a weight.
        ModelTooLarge: E0210.
    """
    entry = None if not isinstance(program, GraphProgram) else _entry(program.identity, images, dtype)
    known = None if entry is None else _passed(kept(entry))
    if known is not None:
        return known
    output = _checked(program, images, dtype, where)
    found = Declared(output.dtype, tuple(output.shape))
    if entry is not None:
        keep(entry, {"dtype": str(output.dtype), "shape": list(output.shape)})
    return found


def _entry(identity: str | None, images: tuple[int, ...], dtype: torch.dtype) -> Path | None:
    """Where it is kept that a program's shapes were checked."""
    if identity is None:
        return None
    parts = ("robspec-shapes", robspec.__version__, torch.__version__, identity, list(images), str(dtype))
    return directory("shapes") / f"{hashlib.sha256(json.dumps(parts).encode()).hexdigest()}.json"


def _passed(fields: dict[str, Any] | None) -> Declared | None:
    """Read type and sides of an output."""
    if fields is None or fields.get("dtype") not in _KNOWN:
        return None
    shape = fields.get("shape")
    if not isinstance(shape, list) or not all(isinstance(side, int) for side in shape):
        return None
    return Declared(_KNOWN[fields["dtype"]], tuple(shape))


_KNOWN = {str(t): t for t in (torch.float16, torch.bfloat16, torch.float32, torch.float64)}


def _checked(program: AnyProgram, images: tuple[int, ...], dtype: torch.dtype, where: str) -> Tensor:
    """The output as a tensor without data."""
    found = _agreed(program, images, dtype, where)
    if found is not None:
        return found
    with FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
        given: list[FakeTensor] = []
        for tensor in state_inputs(program):
            if tensor is None:
                given.append(mode.from_tensor(torch.empty(images, dtype=dtype)))
            else:
                given.append(mode.from_tensor(tensor.detach(), static_shapes=True))
        weights = [g for g, t in zip(given, state_inputs(program), strict=True) if t is not None]
        written = [w._version for w in weights]
        try:
            output = _Shapes(program, images[0], where).run(*given)
        except RobspecError:
            raise
        except Exception as error:
            raise InconsistentArchive(
                where, f"its operators do not fit together: {str(error)[:500]}", "export the model again"
            ) from error
    if [w._version for w in weights] != written:
        raise ModelInterface(
            where,
            "the model writes to its own weights or buffers",
            "export it in evaluation mode, without state",
        )
    result = output[0] if isinstance(output, (tuple, list)) else output
    if not isinstance(result, Tensor):
        raise InconsistentArchive(where, "its output is not a tensor", "export the model again")
    return result


def _agreed(program: AnyProgram, images: tuple[int, ...], dtype: torch.dtype, where: str) -> Tensor | None:
    """The output where every value is as the file declares it; None where it is not, or this way cannot tell."""
    with torch.no_grad():
        state = state_inputs(program)
        given = [torch.empty(images, dtype=dtype, device=_META) if t is None else t.detach().to(_META) for t in state]
        written = [g._version for g in given]
        try:
            output = _MetaShapes(program, images[0], where).run(*given)
        except Exception:  # noqa: BLE001
            return None  # the other way finds out what is wrong, and says it
        if [g._version for g in given] != written:
            return None
    result = output[0] if isinstance(output, (tuple, list)) else output
    return result if isinstance(result, Tensor) and result.device == _META else None

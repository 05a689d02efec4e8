"""Checking what a program says of its values against what computing them would give."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.export import ExportedProgram

from robspec.errors import RobspecError
from robspec.function.running import state_inputs
from robspec.models.errors import InconsistentArchive, ModelInterface, ModelTooLarge

MOST_VALUES = 1 << 31


class _Shapes(fx.Interpreter):
    """Propagates shapes without data, and compares each with the one the file declares."""

    def __init__(self, program: ExportedProgram, batch: int, where: str) -> None:
        super().__init__(program.graph_module, garbage_collect_values=True)
        self._where = where
        self._symbols = dict.fromkeys(program.range_constraints, batch)

    def run_node(self, n: fx.Node) -> Any:
        found = super().run_node(n)
        if n.op in ("call_function", "placeholder"):
            self._compare(n, n.meta.get("val"), found)
        return found

    def _compare(self, node: fx.Node, declared: Any, found: Any) -> None:
        if isinstance(found, (tuple, list)):
            if not isinstance(declared, (tuple, list)) or len(declared) != len(found):
                raise InconsistentArchive(
                    f"{self._where}: {node.name}",
                    f"computing it gives {len(found)} values, which the file does not declare",
                    "export the model again",
                )
            for d, f in zip(declared, found, strict=True):
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
        if not isinstance(declared, Tensor):
            raise InconsistentArchive(
                f"{self._where}: {node.name}", "the file declares no tensor for it", "export the model again"
            )
        shape = tuple(self._number(n) for n in declared.shape)
        if shape != tuple(found.shape) or declared.dtype != found.dtype:
            raise InconsistentArchive(
                f"{self._where}: {node.name}",
                f"the file says {list(shape)} {declared.dtype}, computing it gives {list(found.shape)} {found.dtype}",
                "export the model again",
            )

    def _number(self, size: Any) -> int:
        if isinstance(size, torch.SymInt):
            return int(size.node.expr.subs(self._symbols))
        return int(size)


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


def check_shapes(program: ExportedProgram, images: tuple[int, ...], dtype: torch.dtype, where: str) -> Any:
    """Propagate one batch's shape through a program, without data or memory.

    Proofs about a model read the shapes its nodes declare, so a false one would make a proof false.

    Args:
        program: an exported program of one image input.
        images: [B, C, H, W].
        dtype: of the images.
        where: the file, for the error.

    Returns:
        The output as a tensor without data.

    Raises:
        InconsistentArchive: E0212, a declared shape or dtype is not the computed one.
        ModelInterface: E0209, an in-place operator reaches a weight.
        ModelTooLarge: E0210.
    """
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
    return output[0] if isinstance(output, (tuple, list)) else output


def _agreed(program: ExportedProgram, images: tuple[int, ...], dtype: torch.dtype, where: str) -> Tensor | None:
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

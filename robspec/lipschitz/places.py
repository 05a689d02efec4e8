"""What may depend on the batch: shapes alone, and nothing that differs between its images."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import fx

from robspec.function.errors import MixedBatch, UnsuitableProgram
from robspec.function.nodes import STRUCTURAL, arguments, is_pointwise, operation
from robspec.lipschitz import batch
from robspec.lipschitz.batch import Count, Opaque, Spread
from robspec.lipschitz.values import Step, Value

_ALIGNED = frozenset({"addmm", "baddbmm"})
"""Operations that are not pointwise and add a constant as broadcasting does."""
_VIEWED = frozenset({"view_as", "reshape_as"})
"""Operations that give their first tensor the shape of another, in the order of memory."""

Look = Callable[[fx.Node], object]
"""What a node is that reads no entry of the image, None of data."""


def check_sizes(node: fx.Node, name: str, look: Look, where: str) -> None:
    """Refuse what descends from the batch size wherever it is more than a shape.

    Args:
        node: a call on data.
        name: its operation.
        look: what its sources are.
        where: for the message.

    Raises:
        UnsuitableProgram: a number serves as a factor, an addend, a limit, a condition, an index or a place.
        RobspecError: why the data has no bound whose size is read.
    """
    meets = is_pointwise(node) or name in STRUCTURAL or name in batch.SHAPE_READERS or name in batch.PRODUCTS
    for argument, _, given in arguments(node):
        for part in batch.parts(given):
            symbol = look(part) if isinstance(part, fx.Node) else None
            what = ""
            if isinstance(symbol, Opaque):
                if symbol.cause is not None:
                    raise symbol.cause
                what = f"it reads what changes with the batch size: {symbol.why}"
            elif isinstance(symbol, Count):
                shape = name in batch.SHAPES and argument in ("size", "shape", "sizes")
                if not shape and not (name == "slice" and argument == "end"):
                    what = f"a number that descends from the batch size is no shape here (argument {argument})"
            elif isinstance(symbol, Spread) and not meets:
                what = f"its {argument} is a tensor whose size is the batch size"
            if what:
                raise UnsuitableProgram(where, what, "let nothing but shapes depend on how many images there are")


def check_places(node: fx.Node, name: str, look: Look, step: Step, shape: torch.Size, where: str) -> None:
    """Refuse constants that differ from place to place of the batch.

    Args:
        node: a call on data.
        name: its operation.
        look: what its sources are.
        step: what the rule answered.
        shape: of the result, under the first batch size.
        where: for the message.

    Raises:
        MixedBatch: images would be treated differently.
    """
    joined, rank = name in STRUCTURAL, len(shape)
    shaped = name in batch.SHAPE_READERS
    if step.axis is None or not (is_pointwise(node) or joined or shaped or name in _ALIGNED):
        return
    for argument, _, given in arguments(node):
        for part in batch.parts(given):
            symbol = look(part) if isinstance(part, fx.Node) else None
            if not isinstance(symbol, torch.Tensor | Spread):
                continue
            if (shaped or name in _ALIGNED) and argument != "self":
                continue
            tensor = symbol.template if isinstance(symbol, Spread) else symbol
            if name in _VIEWED and isinstance(symbol, torch.Tensor) and argument == "self":
                tensor = tensor.reshape(shape)
            place = step.axis - (0 if joined else rank - tensor.dim())
            if name == "stack":
                dim = int(next((item for key, _, item in arguments(node) if key == "dim"), 0)) % rank  # type: ignore[call-overload]
                place -= dim < step.axis
            wrong = not isinstance(symbol, Spread) and place >= 0 and not batch.same_for_all(tensor, place)
            if isinstance(symbol, Spread):
                # A view of another shape takes its entries in the order of memory, across the images.
                moved = name in _VIEWED and tuple(tensor.shape[1:]) != tuple(shape[1:])
                wrong = place != symbol.axis or moved or (name in _VIEWED and symbol.axis != 0)
            if wrong:
                what = f"its {argument} is a constant that differs between the images of a batch"
                raise MixedBatch(where, what, "treat every image of a batch alike")


def size_of(node: fx.Node, value: Value) -> object:
    """Read a number off the shape of data: a multiple of the batch size along its batch axis."""
    if value.step.refusal is not None and value.step.squares is None:
        return Opaque(f"{node.name} is a size of {value.name}, of which no bound is known", value.step.refusal)
    name, axis = operation(node), value.axis
    if name.startswith("sym_numel"):
        count = math.prod(value.shape)
        return Count(count) if axis is not None and count else count
    if not name.startswith("sym_size") or len(node.args) < 2 or not isinstance(node.args[1], int):
        return Opaque(f"{node.name} is a stride or an offset")
    dim = node.args[1] % len(value.shape)
    side = value.shape[dim]
    return Count(side) if dim == axis and side else side


def like(node: fx.Node, value: Value) -> object:
    """Zeros, ones or one number in the shape of data."""
    if value.step.refusal is not None and value.step.squares is None:
        return Opaque(f"{node.name} has the shape of {value.name}, of which no bound is known", value.step.refusal)
    name, shape, axis = operation(node), list(value.shape), value.axis
    fill: object = {"zeros_like": 0, "ones_like": 1}.get(name)
    if name == "full_like":
        fill = node.args[1] if len(node.args) > 1 else node.kwargs.get("fill_value")
    if isinstance(fill, bool) or not isinstance(fill, int | float):
        return Opaque(f"{node.name} ({name}) is not filled with one fixed number")
    times = shape[axis] if axis is not None else 0
    if axis is not None and times:
        shape[axis] = 1
    dtype = node.kwargs.get("dtype")
    tensor = torch.full(shape, fill, dtype=dtype if isinstance(dtype, torch.dtype) else value.dtype)
    return Spread(tensor, axis, times) if axis is not None and times else tensor

"""What an export took for granted of its images: read, and held against the sizes that are used; never executed."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from robspec.models import strict
from robspec.models.errors import ModelInterface

_MOST = 64
_LENGTH = 1000
_BATCHES = 1024
"""Sizes of a batch that are tried; of a guard about the batch, all must be."""
_BINARY: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARED: dict[type[ast.cmpop], Callable[[int, int], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


def check(value: Any, sides: Sequence[int | None], batches: tuple[int, int | None], where: str) -> None:
    """Make sure that a graph was exported for the sizes it will be given.

    A model that asks for a size and goes another way is exported as one of its ways, and the guards say for which
    sizes that is the model. Of other sizes it is another function.

    Args:
        value: `guards_code` of the archive.
        sides: of the image, the batch first; None where it is free.
        batches: smallest and largest size of a batch, the second None for no limit.
        where: the file and record, for the error.

    Raises:
        ModelInterface: E0209, a guard does not hold for every size that may be used.
        UnsafeArchive: E0207, a guard is no comparison of sizes.
    """
    for text in strict.sequence([] if value is None else value, where, _MOST):
        if not isinstance(text, str) or len(text) > _LENGTH:
            strict.unsafe(where, f"a guard is not text of at most {_LENGTH} characters")
        tree = _parsed(text, where)
        free = sides[:1] == [None] and any(_axis(node) == 0 for node in ast.walk(tree))
        low, high = batches if free else (0, 0)
        if high is None or high - low > _BATCHES:
            _refuse(text, "batches of any size", where)
        for batch in range(low, high + 1):
            try:
                held = _holds(tree, [batch if side is None else side for side in sides], text, where)
            except RecursionError:
                _unread(text, where)
            if not held:
                _refuse(text, f"a batch of {batch}" if free else "images of this size", where)


def _parsed(text: str, where: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        _unread(text, where)


def _unread(text: str, where: str) -> NoReturn:
    strict.unsafe(where, f"the guard {text[:80]!r} is no comparison of sizes")


def _refuse(text: str, which: str, where: str) -> NoReturn:
    raise ModelInterface(
        where,
        f"the model was exported where {text[:120]}, which is not so of {which}: there it may be another function",
        "export it with images of the size that is checked, and with Dim('batch', min=1, max=64) for the batch; let "
        "forward ask for no size of its images",
    )


def _axis(node: ast.AST) -> int | None:
    """The axis that `L[...].size()[AXIS]` asks for; None of any other node."""
    if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Constant):
        return None
    call = node.value
    if not isinstance(call, ast.Call) or call.args or call.keywords or not isinstance(call.func, ast.Attribute):
        return None
    source = call.func.value
    while isinstance(source, ast.Subscript) and isinstance(source.slice, ast.Constant):
        source = source.value
    known = call.func.attr == "size" and isinstance(source, ast.Name) and source.id == "L"
    return node.slice.value if known and type(node.slice.value) is int else None


def _holds(tree: ast.expr, sides: Sequence[int], text: str, where: str) -> bool:
    """Whether a condition on sizes is met."""
    if isinstance(tree, ast.BoolOp):
        found = [_holds(part, sides, text, where) for part in tree.values]
        return all(found) if isinstance(tree.op, ast.And) else any(found)
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.Not):
        return not _holds(tree.operand, sides, text, where)
    if isinstance(tree, ast.Compare) and all(type(op) in _COMPARED for op in tree.ops):
        numbers = [_number(part, sides, text, where) for part in (tree.left, *tree.comparators)]
        pairs = zip(tree.ops, numbers, numbers[1:], strict=False)
        return all(_COMPARED[type(op)](a, b) for op, a, b in pairs)
    return _unread(text, where)


def _number(tree: ast.expr, sides: Sequence[int], text: str, where: str) -> int:
    """A number made of sizes."""
    axis = _axis(tree)
    if axis is not None and 0 <= axis < len(sides):
        return sides[axis]
    if isinstance(tree, ast.Constant) and type(tree.value) is int and abs(tree.value) < 1 << 62:
        return tree.value
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        return -_number(tree.operand, sides, text, where)
    if isinstance(tree, ast.BinOp) and type(tree.op) in _BINARY:
        a, b = (_number(part, sides, text, where) for part in (tree.left, tree.right))
        if not (isinstance(tree.op, ast.FloorDiv | ast.Mod) and b == 0):
            return _BINARY[type(tree.op)](a, b)
    return _unread(text, where)


def of_program(program: Mapping[str, Any], value: Any, where: str) -> None:
    """Check the guards of a program whose parts have been checked; see `check`."""
    graph, ends = program["graph_module"]["graph"], program["range_constraints"]
    specs = program["graph_module"]["signature"]["input_specs"]
    image = next(s["user_input"]["arg"]["as_tensor"]["name"] for s in specs if "user_input" in s)
    declared = graph["tensor_values"].get(image)
    sizes = [] if declared is None else declared["sizes"]
    sides = [size.get("as_int") for size in sizes]
    bounds = next(iter(ends.values())) if len(ends) == 1 else {"min_val": None, "max_val": None}
    low = 1 if bounds["min_val"] is None else max(1, bounds["min_val"])
    if any(side is None for side in sides[1:]):
        sides = sides[:1]
    check(value, sides, (low, bounds["max_val"]), where)

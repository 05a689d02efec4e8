"""Products with stacks of constant matrices: bmm and its relatives, each with one factor that is constant."""

from __future__ import annotations

from robspec.lipschitz import directed
from robspec.lipschitz.call import Call
from robspec.lipschitz.contraction import Label, Product, contract, factor
from robspec.lipschitz.values import Step, Value

OPERATIONS = ("bmm", "baddbmm", "outer", "inner", "tensordot")
DATA = ("self", "mat2", "batch1", "batch2", "vec2", "other")


def bound(call: Call) -> Step:
    """Write the product as matrices that act on the data, one for each entry of the stack.

    Raises:
        NoGlobalConstant: both factors depend on the image.
        MixedBatch: images are summed, or meet different constants.

    Source: MATH.md section 5.
    """
    names = names_of(call)
    if call.name != "baddbmm":
        return product(call, names)
    if isinstance(call.arguments.get("self"), Value):
        raise call.refuse("baddbmm adds data to a product of data", "write the sum as its own operation")
    call.get("beta")  # refused where it depends on the size of the batch
    _, doubt = call.factor("alpha", call.dtypes[0])
    return product(call, names, stretch=directed.mul(abs(call.number("alpha")), directed.add(1.0, doubt)))


def names_of(call: Call) -> tuple[str, str]:
    """Name the arguments that are the left and the right factor."""
    known = {"baddbmm": ("batch1", "batch2"), "bmm": ("self", "mat2"), "outer": ("self", "vec2")}
    return known.get(call.name, ("self", "other"))


def product(call: Call, names: tuple[str, str], *, stretch: float = 1.0) -> Step:
    """Answer for a product of the arguments of these names, one of which is constant.

    Args:
        call: the node.
        names: of the left and the right factor.
        stretch: a factor on the result, rounded up.
    """
    found = factors(call, names)
    given = (found.value, found.labels, found.given, found.others, found.output)
    return contract(call, *given, stretch=stretch)


def factors(call: Call, names: tuple[str, str]) -> Product:
    """Read a product of the arguments of these names, one of which is constant.

    Raises:
        NoGlobalConstant: both depend on the image.
    """
    items = [call.arguments.get(name) for name in names]
    if all(isinstance(item, Value) for item in items):
        raise call.refuse(
            "the product of two tensors that both depend on the image has no global Lipschitz constant",
            "attention cannot be certified; use convolutions or products with constant matrices",
        )
    place = 0 if isinstance(items[0], Value) else 1
    value = items[place]
    if not isinstance(value, Value):
        raise call.refuse("neither factor depends on the image")
    constant = factor(call, items[1 - place])
    ranks = [len(value.shape), constant.tensor.dim()]
    left, right, output = _labels(call, *(ranks if place == 0 else ranks[::-1]))
    labels, others = (left, right) if place == 0 else (right, left)
    return Product(value, labels, constant, others, output)


def _labels(call: Call, left: int, right: int) -> tuple[tuple[Label, ...], tuple[Label, ...], tuple[Label, ...]]:
    """Name the dimensions of two factors and of their product."""
    rows = tuple(f"row {n}" for n in range(left))
    columns = tuple(f"column {n}" for n in range(right))
    if call.name == "outer":
        return rows, columns, (*rows, *columns)
    if call.name == "inner":
        if not left or not right:
            return rows, columns, (*rows, *columns)
        return rows, (*columns[:-1], rows[-1]), (*rows[:-1], *columns[:-1])
    if call.name == "tensordot":
        pairs = zip(_listed(call, "dims_self"), _listed(call, "dims_other"), strict=True)
        joined = {b % right: rows[a % left] for a, b in pairs}
        other = tuple(joined.get(n, column) for n, column in enumerate(columns))
        free = set(joined.values())
        return rows, other, tuple(label for label in (*rows, *other) if label not in free)
    stacks = tuple(range(max(left, right, 2) - 2))
    first: tuple[Label, ...] = ("row", "sum") if left > 1 else ("sum",)
    second: tuple[Label, ...] = ("sum", "column") if right > 1 else ("sum",)
    outcome = (*first[:-1], *second[1:])
    return (
        (*stacks[len(stacks) - max(0, left - 2) :], *first),
        (*stacks[len(stacks) - max(0, right - 2) :], *second),
        (*stacks, *outcome),
    )


def _listed(call: Call, name: str) -> list[int]:
    """Read a list of dimensions of any length."""
    found = call.get(name)
    items = [item for item in found if isinstance(item, int)] if isinstance(found, list | tuple) else []
    if not isinstance(found, list | tuple) or len(items) != len(found):
        raise call.refuse(f"argument {name} is not a list of fixed dimensions")
    return items

"""Numbers and tensors that descend from the batch size, followed symbolically: what holds, holds for every size.

A number is followed as long as it is a plain multiple c B of the batch size B, and a tensor as long as it says the
same of every image. Such numbers may serve as shapes, such tensors may meet data image by image. Everything else,
B - 2 or arange(B), would let an image's logits depend on how many images there are or on its place among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from robspec.errors import RobspecError
from robspec.function.nodes import CARRIERS, STRUCTURAL, is_pointwise, operation, plain


@dataclass(frozen=True)
class Count:
    """The number `times` * B.

    Args:
        times: at least 1.
    """

    times: int


@dataclass(frozen=True, eq=False)
class Spread:
    """A tensor of `times` * B equal slices along one axis.

    Args:
        template: the tensor with a single slice there, in its own element type.
        axis: where.
        times: how many slices an image has.
    """

    template: torch.Tensor
    axis: int
    times: int

    def at(self, batch: int) -> torch.Tensor:
        """Write the tensor out for one batch size."""
        shape = list(self.template.shape)
        shape[self.axis] = self.times * batch
        return self.template.expand(shape)

    @property
    def from_right(self) -> int:
        """The axis counted from the right, as broadcasting counts."""
        return self.template.dim() - self.axis


@dataclass(frozen=True, eq=False)
class Opaque:
    """A number or tensor that depends on the batch size, or on places in it, in some other way.

    Args:
        why: for the message.
        cause: why the data whose size it is has no bound, where that is the reason.
    """

    why: str
    cause: RobspecError | None = None


SHAPES = frozenset({"view", "_unsafe_view", "reshape", "expand", "broadcast_to", "unflatten", "_reshape_copy"})
"""Operations on data whose sizes may hold multiples of the batch size."""

SHAPE_READERS = frozenset({"view_as", "reshape_as", "expand_as", "type_as"})
"""Operations that read only the shape or the element type of their other tensor."""

PRODUCTS = frozenset({"bmm", "baddbmm", "matmul", "einsum"})
"""Operations whose rules compare the axis of images of a repeated factor with that of the data themselves."""

_FILLED = frozenset({"zeros", "ones", "full", "new_zeros", "new_ones", "new_full"})
_COPIES = frozenset({"to", "_to_copy", "clone", "contiguous", "detach", "alias", "lift_fresh", "lift_fresh_copy"})
_ARITHMETIC = ("operator", "_operator", "math")


def traced(value: object, batch: int) -> object:
    """Write a value out for one batch size; what is opaque has none."""
    if isinstance(value, Count):
        return value.times * batch
    if isinstance(value, Spread):
        return value.at(batch)
    return value


def parts(value: object) -> Iterator[object]:
    """List a value, or the entries of nested lists."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from parts(item)
    else:
        yield value


def follow(node: fx.Node, look: Callable[[fx.Node], object]) -> object:
    """Say what a node of sizes gives, for every batch size at once.

    Args:
        node: a call that reads no entry of the image.
        look: what each of its sources is: a Count, a Spread, an Opaque, or a fixed number or tensor.

    Returns:
        One of these four.
    """
    args = [_resolved(item, look) for item in node.args]
    keywords = {name: _resolved(item, look) for name, item in node.kwargs.items()}
    given = list(parts([*args, *keywords.values()]))
    for item in given:
        if isinstance(item, Opaque):
            return item
    if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
        return Opaque(f"{node.name} is drawn at random on every call")
    if operation(node).startswith(("empty", "new_empty")):
        return Opaque(f"{node.name} is memory that nobody filled")
    if not any(isinstance(item, Count | Spread) for item in given):
        function: Callable[..., Any] = node.target  # type: ignore[assignment]
        return function(*_copied(args), **_copied(keywords))
    found = _answer(node, args, keywords)
    if found is not None:
        return found
    spread = any(isinstance(item, Spread) for item in given)
    what = "need not say the same of every image" if spread else "is no plain multiple of the batch size"
    return Opaque(f"{node.name} ({operation(node)}) {what}")


def _resolved(item: object, look: Callable[[fx.Node], object]) -> object:
    return fx.node.map_arg(item, look)  # type: ignore[arg-type,type-var]


def _copied(value: Any) -> Any:
    """Copy tensors, so that an in-place operation leaves the earlier value alone."""
    return fx.node.map_aggregate(value, lambda item: item.clone() if isinstance(item, torch.Tensor) else item)


def _answer(node: fx.Node, args: list[Any], keywords: dict[str, Any]) -> object:
    """Follow one node that reads a multiple of the batch size; None where it leads out of what is followed."""
    name = plain(operation(node))
    module = str(getattr(node.target, "__module__", ""))
    if module in _ARITHMETIC or (name.startswith("sym_") and module == "torch"):
        return _arithmetic(name, args) if not keywords else None
    call: Callable[..., Any] = node.target  # type: ignore[assignment]
    if name in ("sym_size", "sym_numel"):
        return _size(name, args)
    if name in _FILLED:
        return _filled(call, name, args, keywords)
    if name in ("expand", "broadcast_to"):
        return _expanded(call, args, keywords)
    if name == "repeat":
        return _repeated(call, args)
    if is_pointwise(node) or name in _COPIES or name in CARRIERS:
        return _entrywise(call, args, keywords)
    if name in STRUCTURAL:
        return _joined(call, name, args, keywords)
    return _moved(call, name, args, keywords)


def _arithmetic(name: str, args: Sequence[Any]) -> object:
    """Sums, products and quotients that stay multiples of the batch size, or stop depending on it."""
    if name in ("sym_int", "index", "pos") and len(args) == 1:
        return args[0]
    if len(args) != 2 or not all(isinstance(a, Count) or type(a) is int for a in args):
        return None
    left, right = args
    if isinstance(left, Count) and isinstance(right, Count):
        return _of_two(name, left.times, right.times)
    if name == "mul":
        factor, count = (left, right) if isinstance(right, Count) else (right, left)
        return Count(count.times * factor) if factor > 0 else (0 if factor == 0 else None)
    if name in ("add", "sub") and (right == 0 or (left == 0 and name == "add")):
        return left if isinstance(left, Count) else right
    if isinstance(left, Count) and right > 0 and left.times % right == 0:
        return {"floordiv": Count(left.times // right), "mod": 0}.get(name)
    return None


def _of_two(name: str, left: int, right: int) -> object:
    """Combine left * B and right * B."""
    if name == "add":
        return Count(left + right)
    if name == "sub" and left >= right:
        return Count(left - right) if left > right else 0
    if name == "floordiv":
        return left // right
    if name == "mod" and left % right == 0:
        return 0
    if name == "truediv":
        return left / right
    if name in ("sym_max", "sym_min"):
        return Count(max(left, right) if name == "sym_max" else min(left, right))
    return None


def _size(name: str, args: Sequence[Any]) -> object:
    spread = args[0]
    if not isinstance(spread, Spread):
        return None
    if name == "sym_numel":
        count = spread.template.numel() * spread.times
        return Count(count) if count else 0
    dim = int(args[1]) % spread.template.dim()
    return Count(spread.times) if dim == spread.axis else int(spread.template.shape[dim])


def _filled(call: Callable[..., Any], name: str, args: list[Any], keywords: dict[str, Any]) -> object:
    """Zeros, ones, or one number throughout, in a shape with one multiple of the batch size."""
    where = 1 if name.startswith("new_") else 0
    if len(args) <= where or not isinstance(args[where], list | tuple):
        return None
    sizes = list(args[where])
    counted = [index for index, side in enumerate(sizes) if isinstance(side, Count)]
    others = [*args[:where], *args[where + 1 :], *keywords.values()]
    if len(counted) != 1 or any(isinstance(item, Count | Spread) for item in parts(others)):
        return None
    times = sizes[counted[0]].times
    sizes[counted[0]] = 1
    return Spread(call(*args[:where], sizes, *args[where + 1 :], **keywords), counted[0], times)


def _expanded(call: Callable[..., Any], args: list[Any], keywords: dict[str, Any]) -> object:
    """Repeat a tensor for every image, or widen one that is repeated already along other axes."""
    tensor, sizes = args[0], list(args[1])
    if keywords:
        return None
    counted = [index for index, side in enumerate(sizes) if isinstance(side, Count)]
    if isinstance(tensor, Spread):
        place = tensor.axis + len(sizes) - tensor.template.dim()
        kept = sizes[place] == -1 or sizes[place] == Count(tensor.times)
        if not kept or counted not in ([], [place]):
            return None
        sizes[place] = 1
        return Spread(call(tensor.template, sizes), place, tensor.times)
    if not isinstance(tensor, torch.Tensor) or len(counted) != 1:
        return None
    own = counted[0] - (len(sizes) - tensor.dim())
    if own >= 0 and tensor.shape[own] != 1:
        return None
    times = sizes[counted[0]].times
    sizes[counted[0]] = 1
    return Spread(call(tensor, sizes), counted[0], times)


def _repeated(call: Callable[..., Any], args: list[Any]) -> object:
    """Repeat a tensor of one slice for every image."""
    tensor, repeats = args[0], list(args[1])
    counted = [index for index, side in enumerate(repeats) if isinstance(side, Count)]
    if isinstance(tensor, Spread):
        place = tensor.axis + len(repeats) - tensor.template.dim()
        kept = not counted and repeats[place] == 1
        return Spread(call(tensor.template, repeats), place, tensor.times) if kept else None
    if not isinstance(tensor, torch.Tensor) or len(counted) != 1:
        return None
    own = counted[0] - (len(repeats) - tensor.dim())
    if own >= 0 and tensor.shape[own] != 1:
        return None
    times = repeats[counted[0]].times
    repeats[counted[0]] = 1
    return Spread(call(tensor, repeats), counted[0], times)


def _entrywise(call: Callable[..., Any], args: list[Any], keywords: dict[str, Any]) -> object:
    """Compute entry by entry on templates: the axis of images lies at the same place of all, seen from the right."""
    given = list(parts([*args, *keywords.values()]))
    spreads = [item for item in given if isinstance(item, Spread)]
    if any(isinstance(item, Count) for item in given) or len({(s.from_right, s.times) for s in spreads}) != 1:
        return None
    right = spreads[0].from_right
    for item in given:
        if isinstance(item, torch.Tensor) and item.dim() >= right and item.shape[item.dim() - right] != 1:
            return None
    result = call(*_templates(args), **_templates(keywords))
    if not isinstance(result, torch.Tensor) or result.dim() < right or result.shape[result.dim() - right] != 1:
        return None
    return Spread(result, result.dim() - right, spreads[0].times)


def _joined(call: Callable[..., Any], name: str, args: list[Any], keywords: dict[str, Any]) -> object:
    """Concatenate or stack tensors that are all repeated along the same other axis."""
    items = list(args[0])
    dim = args[1] if len(args) > 1 else keywords.get("dim", 0)
    if not all(isinstance(item, Spread) for item in items) or type(dim) is not int:
        return None
    if len({(item.axis, item.times, item.template.dim()) for item in items}) != 1:
        return None
    axis, rank = items[0].axis, items[0].template.dim() + (name == "stack")
    dim %= rank
    if name != "stack" and dim == axis:
        return None
    moved = axis + 1 if name == "stack" and dim <= axis else axis
    return Spread(call([item.template for item in items], dim), moved, items[0].times)


def _moved(call: Callable[..., Any], name: str, args: list[Any], keywords: dict[str, Any]) -> object:
    """Rearrange one tensor without touching the axis of images."""
    spread, rest = args[0], args[1:]
    if not isinstance(spread, Spread) or keywords or any(not isinstance(i, int) for i in parts(rest)):
        return None
    rank, axis = spread.template.dim(), spread.axis
    if name == "unsqueeze":
        dim = rest[0] % (rank + 1)
        return Spread(call(spread.template, dim), axis + (dim <= axis), spread.times)
    if name == "permute":
        order = [dim % rank for dim in rest[0]]
        return Spread(call(spread.template, order), order.index(axis), spread.times)
    if name == "transpose":
        first, second = (dim % rank for dim in rest)
        swapped = {first: second, second: first}
        return Spread(call(spread.template, first, second), swapped.get(axis, axis), spread.times)
    if name in ("slice", "narrow", "select", "flip") and rest:
        dims = rest[0] if name == "flip" else [rest[0]]
        touched = [dim % rank for dim in dims]
        if axis in touched:
            return None
        dropped = name == "select" and touched[0] < axis
        return Spread(call(spread.template, *rest), axis - dropped, spread.times)
    return None


def _templates(value: Any) -> Any:
    """Put templates in place of tensors that are repeated, and copies in place of others."""
    taken = fx.node.map_aggregate(value, lambda item: item.template if isinstance(item, Spread) else item)
    return _copied(taken)


def same_for_all(tensor: torch.Tensor, axis: int) -> bool:
    """Whether a fixed tensor says the same of every place along an axis."""
    if tensor.shape[axis] <= 1:
        return True
    return bool(torch.equal(tensor, tensor.narrow(axis, 0, 1).expand_as(tensor)))

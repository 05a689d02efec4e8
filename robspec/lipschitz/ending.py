"""The end of a network that is a fixed up-sampling: where it begins, and what may follow it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate

import torch
from torch import fx

from robspec.function.head import COPIES, ending_at
from robspec.function.layout import Layout, module_path, read
from robspec.function.nodes import arguments, operation, plain
from robspec.function.program import AnyProgram, GraphProgram, declared
from robspec.function.running import FLOATS
from robspec.function.settle import settle
from robspec.lipschitz.upsampling import Rows, is_usual, rows_of

_MOST = 1 << 12
"""Sides from here on are not covered by the rounding analysis of resampling."""
_WHOLE = 2**63 - 1


@dataclass(frozen=True, eq=False)
class Ending:
    """A fixed linear map at the end of a program.

    Args:
        coarse: the program that ends in the coarse logits.
        node: the node that computes these; or, where convolutions are moved, what these work on.
        module: the module it was exported from; empty where that is not known.
        kind: what follows it, in words.
        sides: height and width of the coarse logits.
        lines: of every row and of every column of pixels, the exact weights of the rows and columns of nodes that it
            is made of, by the definition of the interpolation.
        nodes: the up-sampling and the crops after it, in their order.
        fixed: what these take beside logits, by name.
        moved: the whole program, the convolutions after the up-sampling moved before it; None where there are none.
    """

    coarse: GraphProgram
    node: str
    module: str
    kind: str
    sides: tuple[int, int]
    lines: tuple[Rows, Rows]
    nodes: tuple[fx.Node, ...]
    fixed: Mapping[str, torch.Tensor]
    moved: GraphProgram | None = None

    def enlarge(self, logits: torch.Tensor) -> torch.Tensor:
        """Compute full-size logits, [B, K, H, W], as the network does from coarse ones, [B, K, h, w]."""
        fixed = {name: weight.to(logits.dtype) for name, weight in self.fixed.items()}
        with torch.no_grad():
            for node in self.nodes:
                rest, named = fx.node.map_arg((node.args[1:], node.kwargs), lambda n: fixed[n.name])
                logits = node.target(logits, *rest, **named)  # type: ignore[operator]
        return logits

    @property
    def text(self) -> str:
        """Where the network is cut and what follows."""
        (h, w), (height, width) = self.sides, self.shape
        counted = "1 cell" if self.cells == 1 else f"{self.cells} cells"
        at = f"{self.node} ({self.module})" if self.module else self.node
        return f"{at}: {self.kind}, {h} x {w} to {height} x {width}, {counted}"

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return len(self.lines[0]), len(self.lines[1])

    @property
    def cells(self) -> int:
        """How many cells there are, of pixels that are made of the same nodes."""
        return math.prod(len(set(cells_of(line, side))) for line, side in zip(self.lines, self.sides, strict=True))


def find_ending(program: AnyProgram) -> Ending | None:
    """Find the last up-sampling of a program, where only copies, crops and 1 x 1 convolutions follow it.

    A convolution of single pixels makes of a mean of nodes the mean of what it makes of the nodes, its bias included:
    over the reals it may as well come first.

    The weights are those of the definition. What torch's own index arithmetic makes of them in float32 is rounding of
    the forward pass, like every other; that it is the same map is tried in float64. Nearest neighbours jump: there
    the node itself is run on numbered pixels, in every element type and layout, which must all agree. A transposed
    convolution is one where it treats all channels alike, by taps that are a product of a column and a row.

    Args:
        program: a loaded program whose output is [B, K, H, W].

    Returns:
        The ending, None where the program does not end so.
    """
    program = settle(program)
    layout = read(program)
    node, crops, nodes, convolutions = peel(layout)
    source = node.args[0] if node.args else None
    if not isinstance(source, fx.Node):
        return None
    before, after = _shape(source), _shape(node)
    if before is None or after is None or before[0] != after[0] or max(*before, *after) >= _MOST:
        return None
    sides = before[1:]
    fixed = {n.name: item for n in node.all_input_nodes if (item := weight_of(n, layout.constants)) is not None}
    if any(n is not source and n.name not in fixed for n in node.all_input_nodes):
        return None
    read_off = rows_of(node, sides, after[1:], fixed)
    if read_off is None:
        return None
    lines, kind = read_off
    for dim, bounds in reversed(crops):
        lines = tuple(line[bounds] if dim == d else line for d, line in enumerate(lines, start=2))  # type: ignore[assignment]
    final = _shape(layout.output)
    if final is None or final[1:] != (len(lines[0]), len(lines[1])) or not all(map(is_usual, lines)):
        return None
    if not convolutions and final[0] != after[0]:
        return None
    if convolutions and (fixed or not all(map(_affine, lines))):
        return None
    kind += f" x{after[1] / sides[0]:.4g}" + (", cropped" if crops else "")
    chain = tuple(reversed([*nodes, node]))
    module = module_path(source, layout.owners)
    before_it = convolutions[::-1]
    moved = ending_at(program, source, [*before_it, *chain]) if convolutions else None
    if convolutions:
        kind += ", the 1 x 1 convolution after it moved before it"
    return Ending(ending_at(program, source, before_it), source.name, module, kind, sides, lines, chain, fixed, moved)


def peel(layout: Layout) -> tuple[fx.Node, list[tuple[int, slice]], list[fx.Node], list[fx.Node]]:
    """Look under the copies, crops and 1 x 1 convolutions that end a program.

    Args:
        layout: of a program whose output is [B, K, H, W].

    Returns:
        The last node that is something else; the crops, their nodes, and the convolutions, last first.
    """
    node, crops, nodes, convolutions = layout.output, list[tuple[int, slice]](), list[fx.Node](), list[fx.Node]()
    while (under := _under(node) or _mixed(node, layout.image)) is not None:
        above, (node, crop) = node, under
        if crop is not None:
            crops.append(crop)
            nodes.append(above)
        elif _mixed(above, layout.image):
            convolutions.append(above)
    return node, crops, nodes, convolutions


def span_of(line: Rows) -> int:
    """How many neighbouring nodes the pixels of a cell of one dimension are made of at most."""
    return max(_reach(row)[1] - first + 1 for row, first in zip(line, _firsts(line), strict=True))


def cells_of(line: Rows, nodes: int) -> tuple[int, ...]:
    """Name the cell of each pixel of one dimension by the first of the nodes that its pixels may be made of.

    What a pixel at the border lacks of its neighbours' nodes does not make a cell of its own, nor does a weight of 0:
    cells ascend.

    Args:
        line: of each pixel, its weights.
        nodes: how many nodes there are.
    """
    last = max(nodes - span_of(line), 0)
    return tuple(min(first, last) for first in _firsts(line))


def _firsts(line: Rows) -> list[int]:
    """The first node of each pixel, or of one after it where that comes before."""
    return list(accumulate((_reach(row)[0] for row in reversed(line)), min))[::-1]


def _reach(row: Mapping[int, Fraction]) -> tuple[int, int]:
    used = [node for node, weight in row.items() if weight]
    return min(used), max(used)


def _affine(line: Rows) -> bool:
    """Whether the weights of every pixel add up to 1."""
    return all(sum(row.values()) == 1 for row in line)


def weight_of(node: fx.Node, constants: Mapping[str, object]) -> torch.Tensor | None:
    """Give the weight that a node stands for, None where it is none."""
    found = constants.get(node.name)
    return found if isinstance(found, torch.Tensor) and found.is_floating_point() else None


def _mixed(node: fx.Node, image: fx.Node) -> tuple[fx.Node, None] | None:
    """Look under a convolution of single pixels with fixed weights: what it works on."""
    if node.op != "call_function" or operation(node) not in ("conv2d", "convolution") or len(node.args) < 2:
        return None
    given = {key: item for key, _, item in arguments(node)}
    source, weight = node.args[:2]
    before, after = (declared(n.meta.get("val")) if isinstance(n, fx.Node) else None for n in (source, node))
    if before is None or after is None or before.dim() != 4 or before.dtype != after.dtype:
        return None
    fixed = [n for n in node.all_input_nodes if n is not source]
    if any(n.op not in ("placeholder", "get_attr") or n is image for n in fixed) or source is weight:
        return None
    taps = declared(weight.meta.get("val")) if isinstance(weight, fx.Node) else None
    if taps is None or tuple(taps.shape[2:]) != (1, 1) or given.get("transposed") is True:
        return None
    steps = (given.get("stride"), given.get("padding"), given.get("output_padding"))
    if any(n is not None and n != wanted for n, wanted in zip(map(_alike, steps), (1, 0, 0), strict=True)):
        return None
    return source, None  # type: ignore[return-value]


def _alike(numbers: object) -> object:
    """The number that a list repeats; what is no such list is given back."""
    listed = list(numbers) if isinstance(numbers, list | tuple) else [numbers]
    return listed[0] if listed and all(n == listed[0] for n in listed) else numbers


def _shape(node: fx.Node) -> tuple[int, int, int] | None:
    """Channels, height and width of a node of four dimensions."""
    value = declared(node.meta.get("val"))
    if value is None or value.dim() != 4 or value.dtype not in FLOATS:
        return None
    rest = tuple(value.shape[1:])
    return rest if all(isinstance(side, int) for side in rest) else None  # type: ignore[return-value]


def _under(node: fx.Node) -> tuple[fx.Node, tuple[int, slice] | None] | None:
    """Look under a copy or a crop: what it works on, and which dimension it crops."""
    if node.op != "call_function" or not node.args or not isinstance(node.args[0], fx.Node):
        return None
    source, name = node.args[0], plain(operation(node))
    before, after = declared(source.meta.get("val")), declared(node.meta.get("val"))
    if before is None or after is None or before.dtype != after.dtype:
        return None
    if before.dim() != 4 or after.dim() != 4:
        return None
    if name in COPIES:
        return source, None
    if name != "slice":
        return None
    given = {key: item for key, _, item in arguments(node)}
    dim, start, end, step = (given.get(key) for key in ("dim", "start", "end", "step"))
    dim = 0 if dim is None else dim
    numbers = (start or 0, _WHOLE if end is None else end, 1 if step is None else step)
    if not isinstance(dim, int) or not all(isinstance(number, int) for number in numbers):
        return None
    first, last, by = (int(number) for number in numbers)  # type: ignore[call-overload]
    dim %= 4
    if (first, by) == (0, 1) and last == _WHOLE:
        return source, None
    return (source, (dim, slice(first, last, by))) if dim >= 2 and by > 0 else None

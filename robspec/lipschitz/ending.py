"""The end of a network that is a fixed up-sampling: where it begins, and how it makes pixels of coarse nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import fx

from robspec.function.head import COPIES, ending_at
from robspec.function.layout import module_path, read
from robspec.function.nodes import arguments, operation, plain
from robspec.function.program import AnyProgram, GraphProgram, declared
from robspec.function.running import FLOATS
from robspec.function.settle import settle
from robspec.lipschitz.rules.resample import ramps

_NEAREST = ("upsample_nearest2d", "_upsample_nearest_exact2d")
_BILINEAR = "upsample_bilinear2d"
_MOST = 1 << 12
"""Sides from here on are not covered by the rounding analysis of resampling."""
_AGREEMENT = 2.0**-30
"""How far an interpolation in float64 may be from its definition; weights that mean something else are farther."""
_WHOLE = 2**63 - 1

Rows = tuple[Mapping[int, Fraction], ...]


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
        moved: the whole program, the convolutions after the up-sampling moved before it; None where there are none.
    """

    coarse: GraphProgram
    node: str
    module: str
    kind: str
    sides: tuple[int, int]
    lines: tuple[Rows, Rows]
    nodes: tuple[fx.Node, ...]
    moved: GraphProgram | None = None

    def enlarge(self, logits: torch.Tensor) -> torch.Tensor:
        """Compute full-size logits, [B, K, H, W], as the network does from coarse ones, [B, K, h, w]."""
        with torch.no_grad():
            for node in self.nodes:
                logits = node.target(logits, *node.args[1:], **node.kwargs)  # type: ignore[operator]
        return logits

    @property
    def text(self) -> str:
        """Where the network is cut and what follows."""
        (h, w), (height, width) = self.sides, self.shape
        at = f"{self.node} ({self.module})" if self.module else self.node
        return f"{at}: {self.kind}, {h} x {w} to {height} x {width}, {self.cells} cells"

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
    the node itself is run on numbered pixels, in every element type and layout, which must all agree.

    Args:
        program: a loaded program whose output is [B, K, H, W].

    Returns:
        The ending, None where the program does not end so.
    """
    program = settle(program)
    layout = read(program)
    node, crops, nodes, convolutions = layout.output, [], list[fx.Node](), list[fx.Node]()
    while (under := _under(node) or _mixed(node, layout.image)) is not None:
        above, (node, crop) = node, under
        if crop is not None:
            crops.append(crop)
            nodes.append(above)
        elif _mixed(above, layout.image):
            convolutions.append(above)
    name = operation(node)
    if name not in (*_NEAREST, _BILINEAR) or not node.args or not isinstance(node.args[0], fx.Node):
        return None
    source = node.args[0]
    before, after = _shape(source), _shape(node)
    if before is None or after is None or before[0] != after[0] or max(*before, *after) >= _MOST:
        return None
    sides = before[1:]
    rest = {key: item for key, _, item in list(arguments(node))[1:]}
    if any(isinstance(item, fx.Node) for item in torch.utils._pytree.tree_leaves(rest)):
        return None
    lines = _nearest(node, sides) if name in _NEAREST else _linear(node, sides, after[1:], rest)
    if lines is None:
        return None
    for dim, bounds in reversed(crops):
        lines = tuple(line[bounds] if dim == d else line for d, line in enumerate(lines, start=2))  # type: ignore[assignment]
    final = _shape(layout.output)
    if final is None or final[1:] != (len(lines[0]), len(lines[1])) or not all(lines):
        return None
    if not convolutions and final[0] != after[0]:
        return None
    if convolutions and not all(map(_convex, lines)):
        return None
    kind = "nearest" if name in _NEAREST else "bilinear" + (", corners aligned" if rest.get("align_corners") else "")
    kind += f" x{after[1] / sides[0]:.4g}" + (", cropped" if crops else "")
    chain = tuple(reversed([*nodes, node]))
    module = module_path(source, layout.owners)
    before_it = convolutions[::-1]
    moved = ending_at(program, source, [*before_it, *chain]) if convolutions else None
    if convolutions:
        kind += ", the 1 x 1 convolution after it moved before it"
    return Ending(ending_at(program, source, before_it), source.name, module, kind, sides, lines, chain, moved)


def span_of(line: Rows) -> int:
    """How many neighbouring nodes the pixels of one dimension are made of at most, from the first to the last."""
    return max(last - first + 1 for first, last in map(_reach, line))


def cells_of(line: Rows, nodes: int) -> tuple[int, ...]:
    """Name the cell of each pixel of one dimension by the first of the nodes that its pixels may be made of.

    What a pixel at the border lacks of its neighbours' nodes does not make a cell of its own.

    Args:
        line: of each pixel, its weights.
        nodes: how many nodes there are.
    """
    last = max(nodes - span_of(line), 0)
    return tuple(min(_reach(row)[0], last) for row in line)


def _reach(row: Mapping[int, Fraction]) -> tuple[int, int]:
    used = [node for node, weight in row.items() if weight]
    return min(used), max(used)


def _convex(line: Rows) -> bool:
    """Whether every pixel is a mean of nodes."""
    return all(min(row.values()) >= 0 and sum(row.values()) == 1 for row in line)


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


def _linear(
    node: fx.Node, sides: tuple[int, int], outputs: tuple[int, int], rest: Mapping[str, object]
) -> tuple[Rows, Rows] | None:
    listed = rest.get("scale_factors") or [rest.get("scales_h"), rest.get("scales_w")]
    scales = list(listed) if isinstance(listed, list | tuple) else []
    if len(scales) != 2:
        return None
    align = rest.get("align_corners") is True
    first, second = (
        interpolation(side, out, align, float(s) if isinstance(s, int | float) else None)
        for side, out, s in zip(sides, outputs, scales, strict=True)
    )
    # Numbers without a pattern, the same in every run.
    trial = torch.frac(torch.arange(1, 1 + math.prod(sides), dtype=torch.float64) * 0.6180339887498949)
    trial = trial.reshape(1, 1, *sides)
    given = node.target(trial, *node.args[1:], **node.kwargs)[0, 0]  # type: ignore[operator]
    meant = matrix(first, sides[0]) @ trial[0, 0] @ matrix(second, sides[1]).T
    if given.shape != meant.shape or not bool(((given - meant).abs() <= _AGREEMENT).all()):
        return None
    return first, second


def interpolation(side: int, outputs: int, align: bool, scale: float | None) -> Rows:
    """Write one-dimensional linear interpolation in exact rationals.

    Source: the definition in the documentation of torch.nn.functional.interpolate.
    """
    if align:
        step = Fraction(side - 1, outputs - 1) if outputs > 1 else Fraction(0)
    else:
        step = 1 / Fraction(scale) if scale is not None and scale > 0 else Fraction(side, outputs)
    rows = []
    for o in range(outputs):
        position = step * o if align else max(step * (o + Fraction(1, 2)) - Fraction(1, 2), Fraction(0))
        base = min(math.floor(position), side - 1)
        part = position - base if base + 1 < side else Fraction(0)
        rows.append({base: 1 - part, base + 1: part} if part else {base: Fraction(1)})
    return tuple(rows)


def matrix(rows: Rows, nodes: int) -> torch.Tensor:
    matrix = torch.zeros(len(rows), nodes, dtype=torch.float64)
    for o, row in enumerate(rows):
        for node, weight in row.items():
            matrix[o, node] = float(weight)
    return matrix


def _nearest(node: fx.Node, sides: tuple[int, int]) -> tuple[Rows, Rows] | None:
    count = math.prod(sides)
    if count >= 1 << 24:
        return None
    known: torch.Tensor | None = None
    for ramp in ramps(count, list(sides)):
        output = node.target(ramp, *node.args[1:], **node.kwargs).to(torch.int64)  # type: ignore[operator]
        if known is None:
            known = output[0, 0]
        if not bool((output == known).all()):
            return None
    if known is None:
        return None
    down, across = known // sides[1], known % sides[1]
    if not bool((down == down[:, :1]).all()) or not bool((across == across[:1]).all()):
        return None
    rows = tuple({index: Fraction(1)} for index in down[:, 0].tolist())
    columns = tuple({index: Fraction(1)} for index in across[0].tolist())
    return rows, columns

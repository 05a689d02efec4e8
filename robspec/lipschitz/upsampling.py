"""Fixed up-samplings in exact rationals: of what nodes each row and each column of pixels is made."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from fractions import Fraction

import torch
from torch import fx

from robspec.function.nodes import arguments, operation
from robspec.lipschitz.rules.resample import ramps

_NEAREST = ("upsample_nearest2d", "_upsample_nearest_exact2d")
_SMOOTH = {"upsample_bilinear2d": "bilinear", "upsample_bicubic2d": "bicubic"}
TRANSPOSED = ("conv_transpose2d", "convolution")
_AGREEMENT = 2.0**-30
"""How far an interpolation in float64 may be from its definition; weights that mean something else are farther."""
_USUAL = 2**20
"""Sums of squared weights are within this and its inverse, far from what doubles lose."""

Rows = tuple[Mapping[int, Fraction], ...]


def rows_of(
    node: fx.Node, sides: tuple[int, int], outputs: tuple[int, int], fixed: Mapping[str, torch.Tensor]
) -> tuple[tuple[Rows, Rows], str] | None:
    """Read an up-sampling: exact weights by its definition, tried in float64, and what it is in words.

    Args:
        node: what computes it, of logits first.
        sides: height and width of the logits.
        outputs: of what it makes.
        fixed: weights by the name of the node that stands for each.

    Returns:
        Weights along the height and the width, None where it is no such map.
    """
    name = operation(node)
    rest = {key: item for key, _, item in list(arguments(node))[1:]}
    if name in TRANSPOSED:
        return _transposed(node, sides, outputs, rest, fixed)
    if any(isinstance(item, fx.Node) for item in torch.utils._pytree.tree_leaves(rest)):
        return None
    if name in _NEAREST:
        nearest = _nearest(node, sides)
        return None if nearest is None else (nearest, "nearest")
    if name not in _SMOOTH:
        return None
    kind = _SMOOTH[name]
    smooth = _smooth(node, sides, outputs, rest, cubic=kind == "bicubic")
    return None if smooth is None else (smooth, kind + (", corners aligned" if rest.get("align_corners") else ""))


def is_usual(rows: Iterable[Mapping[int, Fraction]]) -> bool:
    """Tell whether every row is made of something, by weights that are neither tiny nor huge."""
    sums = [sum((weight * weight for weight in row.values()), Fraction(0)) for row in rows]
    return bool(sums) and all(Fraction(1, _USUAL) <= total <= _USUAL for total in sums)


def _smooth(
    node: fx.Node,
    sides: tuple[int, int],
    outputs: tuple[int, int],
    rest: Mapping[str, object],
    *,
    cubic: bool,
) -> tuple[Rows, Rows] | None:
    listed = rest.get("scale_factors") or [rest.get("scales_h"), rest.get("scales_w")]
    scales = list(listed) if isinstance(listed, list | tuple) else []
    if len(scales) != 2:
        return None
    align = rest.get("align_corners") is True
    first, second = (
        interpolation(side, out, align, float(s) if isinstance(s, int | float) else None, cubic=cubic)
        for side, out, s in zip(sides, outputs, scales, strict=True)
    )
    given = node.target(_trial(sides), *node.args[1:], **node.kwargs)[0, 0]  # type: ignore[operator]
    return (first, second) if _agrees(given, first, second, sides) else None


def _trial(sides: tuple[int, int]) -> torch.Tensor:
    """Numbers from 0 to 1 without a pattern, the same in every run, [1, 1, h, w]."""
    found = torch.frac(torch.arange(1, 1 + math.prod(sides), dtype=torch.float64) * 0.6180339887498949)
    return found.reshape(1, 1, *sides)


def _agrees(given: torch.Tensor, first: Rows, second: Rows, sides: tuple[int, int]) -> bool:
    """Tell whether what a node makes of a trial is what the definition does."""
    down, along = matrix(first, sides[0]), matrix(second, sides[1])
    meant = down @ _trial(sides)[0, 0] @ along.T
    size = max(1.0, float(down.abs().sum(1).max() * along.abs().sum(1).max()))
    return given.shape == meant.shape and bool(((given - meant).abs() <= _AGREEMENT * size).all())


def interpolation(side: int, outputs: int, align: bool, scale: float | None, *, cubic: bool = False) -> Rows:
    """Write one-dimensional linear or cubic (a = -3/4) interpolation in exact rationals.

    Args:
        side: nodes.
        outputs: pixels.
        align: whether corner pixels are aligned.
        scale: the scale factor the caller gave, None to use outputs / side.
        cubic: cubic instead of linear.

    Source: the definition in the documentation of torch.nn.functional.interpolate.
    """
    if align:
        step = Fraction(side - 1, outputs - 1) if outputs > 1 else Fraction(0)
    else:
        step = 1 / Fraction(scale) if scale is not None and scale > 0 else Fraction(side, outputs)
    rows = []
    for o in range(outputs):
        position = step * o if align else step * (o + Fraction(1, 2)) - Fraction(1, 2)
        if not cubic:
            position = max(position, Fraction(0))
        base = math.floor(position)
        row: dict[int, Fraction] = {}
        for shift, weight in (_cubic(position - base) if cubic else _ramp(position - base)).items():
            node = min(max(base + shift, 0), side - 1)
            row[node] = row.get(node, Fraction(0)) + weight
        rows.append({node: weight for node, weight in row.items() if weight})
    return tuple(rows)


def _ramp(part: Fraction) -> dict[int, Fraction]:
    return {0: 1 - part, 1: part}


def _cubic(part: Fraction) -> dict[int, Fraction]:
    a = Fraction(-3, 4)

    def near(x: Fraction) -> Fraction:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Fraction) -> Fraction:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return {-1: far(part + 1), 0: near(part), 1: near(1 - part), 2: far(2 - part)}


def _transposed(
    node: fx.Node,
    sides: tuple[int, int],
    outputs: tuple[int, int],
    rest: Mapping[str, object],
    fixed: Mapping[str, torch.Tensor],
) -> tuple[tuple[Rows, Rows], str] | None:
    """Read a transposed convolution that treats every channel alike, without a bias."""
    named, bias = rest.get("weight"), rest.get("bias")
    weight = fixed.get(named.name) if isinstance(named, fx.Node) else None
    if (
        weight is None
        or weight.dim() != 4
        or (operation(node) == "convolution" and rest.get("transposed") is not True)
    ):
        return None
    stored = fixed.get(bias.name) if isinstance(bias, fx.Node) else None
    if lack_of(weight, rest.get("groups"), stored, biased=isinstance(bias, fx.Node)) is not None:
        return None
    names = ("stride", "padding", "dilation", "output_padding")
    given = [_both(rest.get(key), default) for key, default in zip(names, (1, 0, 1, 0), strict=True)]
    factors = factors_of(weight[0, 0])
    if factors is None or any(numbers is None for numbers in given):
        return None
    steps, padding, spread, extra = (numbers or (0, 0) for numbers in given)
    first, second = (
        _spread_out(side, out, taps, step, pad, by)
        for side, out, taps, step, pad, by in zip(sides, outputs, factors, steps, padding, spread, strict=True)
    )
    taps = weight[:1].to(torch.float64)
    made = torch.nn.functional.conv_transpose2d(_trial(sides), taps, None, steps, padding, extra, 1, spread)[0, 0]
    if not _agrees(made, first, second, sides):
        return None
    return (first, second), f"transposed convolution of {len(factors[0])} x {len(factors[1])} taps"


class Lack(enum.Enum):
    """Why a transposed convolution is no fixed up-sampling of every class by itself."""

    MIXES = enum.auto()
    APART = enum.auto()
    BIAS = enum.auto()
    NO_PRODUCT = enum.auto()


def lack_of(weight: torch.Tensor, groups: object, bias: torch.Tensor | None, *, biased: bool) -> Lack | None:
    """Tell what a transposed convolution lacks, None for nothing.

    Args:
        weight: its taps, [C, C' / groups, height, width].
        groups: as it is called with; None for 1.
        bias: what is stored of its bias, or None.
        biased: whether it has one.
    """
    if weight.shape[1] != 1 or (1 if groups is None else groups) != int(weight.shape[0]):
        return Lack.MIXES
    if not bool((weight == weight[:1]).all()):
        return Lack.APART
    if biased and (bias is None or bool(bias.any())):
        return Lack.BIAS
    return Lack.NO_PRODUCT if factors_of(weight[0, 0]) is None else None


def _both(numbers: object, default: int) -> tuple[int, int] | None:
    """Read a number for either dimension, or one for both."""
    if numbers is None:
        return default, default
    listed = list(numbers) if isinstance(numbers, list | tuple) else [numbers]
    found = [n for n in (listed * 2 if len(listed) == 1 else listed) if isinstance(n, int)]
    return (found[0], found[1]) if len(found) == 2 else None


def factors_of(weight: torch.Tensor) -> tuple[list[Fraction], list[Fraction]] | None:
    """Write taps as the product of a column and a row, exactly, None where they are none.

    Args:
        weight: taps, [height, width], of any floating type.
    """
    taps = [[Fraction(tap) for tap in line] for line in weight.tolist()]
    largest = max(((abs(tap), y, x) for y, line in enumerate(taps) for x, tap in enumerate(line)), default=None)
    if largest is None or not largest[0]:
        return None
    _, top, left = largest
    row = [tap / taps[top][left] for tap in taps[top]]
    column = [line[left] for line in taps]
    exact = all(a * b == tap for a, line in zip(column, taps, strict=True) for b, tap in zip(row, line, strict=True))
    return (column, row) if exact else None


def _spread_out(side: int, outputs: int, taps: list[Fraction], step: int, padding: int, by: int) -> Rows:
    """Write a one-dimensional transposed convolution: node n adds tap t to pixel n step - padding + t by."""
    rows: list[dict[int, Fraction]] = [{} for _ in range(outputs)]
    for node in range(side):
        for t, tap in enumerate(taps):
            at = node * step - padding + t * by
            if 0 <= at < outputs and tap:
                rows[at][node] = tap
    return tuple(rows)


def matrix(rows: Rows, nodes: int) -> torch.Tensor:
    """Write rows as a dense matrix in float64, [pixels, nodes]."""
    found = torch.zeros(len(rows), nodes, dtype=torch.float64)
    for o, row in enumerate(rows):
        for node, weight in row.items():
            found[o, node] = float(weight)
    return found


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

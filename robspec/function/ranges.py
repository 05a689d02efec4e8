"""Ranges of values by interval arithmetic: enough to see that an output can have one sign only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import fx

from robspec.function.layout import read
from robspec.function.nodes import CARRIERS, arguments, kinds, operation, plain
from robspec.function.program import AnyProgram

Range = tuple[float, float]

EVERYTHING: Range = (-math.inf, math.inf)

_FIXED: dict[str, Range] = {
    "sigmoid": (0.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "_softmax": (0.0, 1.0),
    "_safe_softmax": (0.0, 1.0),
    "log_softmax": (-math.inf, 0.0),
    "_log_softmax": (-math.inf, 0.0),
    "log_sigmoid": (-math.inf, 0.0),
    "tanh": (-1.0, 1.0),
    "sin": (-1.0, 1.0),
    "cos": (-1.0, 1.0),
    "erf": (-1.0, 1.0),
    "relu6": (0.0, 6.0),
    "softplus": (0.0, math.inf),
    "exp": (0.0, math.inf),
    "sqrt": (0.0, math.inf),
    "square": (0.0, math.inf),
    "linalg_vector_norm": (0.0, math.inf),
    "norm": (0.0, math.inf),
}
_KEEPING = """
view _unsafe_view reshape flatten unflatten squeeze unsqueeze view_as reshape_as ravel permute transpose t movedim
expand expand_as broadcast_to repeat tile slice select narrow split split_with_sizes chunk unbind index_select clone
contiguous detach alias to _to_copy type_as lift_fresh flip fliplr flipud roll rot90 pixel_shuffle pixel_unshuffle
channel_shuffle max_pool1d max_pool2d max_pool3d amax amin mean adaptive_avg_pool1d adaptive_avg_pool2d
adaptive_avg_pool3d adaptive_max_pool2d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d
upsample_bilinear2d upsample_trilinear3d sort dropout positive reflection_pad1d reflection_pad2d replication_pad1d
replication_pad2d cat concat concatenate stack maximum minimum where upsample_nearest_exact2d
"""
_KEPT = frozenset(_KEEPING.split())
_MAY_ADD_ZERO = """avg_pool1d avg_pool2d avg_pool3d constant_pad_nd pad masked_fill threshold"""
_WITH_ZERO = frozenset(_MAY_ADD_ZERO.split())


def output_range(program: AnyProgram) -> Range:
    """Bound the values of a settled program's output over all images.

    Args:
        program: a settled program.

    Returns:
        Least and greatest value; infinite where nothing is known. A hint about signs: rounding is not accounted for.
    """
    layout = read(program)
    depends = kinds(program.graph, layout.image)
    known: dict[fx.Node, Range] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder":
            value = layout.constants.get(node.name)
            known[node] = _of_tensor(value) if isinstance(value, torch.Tensor) else EVERYTHING
        elif node.op == "call_function":
            known[node] = _of_call(node, known) if depends[node] == "data" or _fills(node) else EVERYTHING
    return known.get(layout.output, EVERYTHING)


def _fills(node: fx.Node) -> bool:
    return plain(operation(node)) in CARRIERS | {"zeros", "ones", "full", "clone", "expand", "repeat"}


def _of_tensor(value: torch.Tensor) -> Range:
    if value.numel() == 0 or value.is_complex():
        return EVERYTHING
    wide = value.to(torch.float64)
    low, high = float(wide.min()), float(wide.max())
    return (low, high) if low <= high else EVERYTHING


def _hull(ranges: Iterable[Range]) -> Range:
    found = list(ranges)
    return (min(low for low, _ in found), max(high for _, high in found)) if found else EVERYTHING


def _of_call(node: fx.Node, known: dict[fx.Node, Range]) -> Range:
    name = plain(operation(node))
    given = {key: item for key, _, item in arguments(node)}

    def of(item: object) -> Range:
        if isinstance(item, fx.Node):
            return known.get(item, EVERYTHING)
        if isinstance(item, list | tuple):
            return _hull(of(part) for part in item)
        return (float(item), float(item)) if isinstance(item, int | float) else EVERYTHING

    if name in _FIXED:
        return _FIXED[name]
    if name in ("zeros", "zeros_like", "new_zeros"):
        return 0.0, 0.0
    if name in ("ones", "ones_like", "new_ones"):
        return 1.0, 1.0
    if name in ("full", "full_like", "new_full"):
        return of(given.get("fill_value"))
    rule = _RULES.get(name)
    if rule is not None:
        return rule(given, of)
    operands = [item for key, item in given.items() if key in ("self", "input", "other", "tensors")]
    if name in _KEPT:
        return _hull(of(item) for item in operands)
    if name in _WITH_ZERO:
        fill = of(given["value"]) if isinstance(given.get("value"), int | float) else (0.0, 0.0)
        return _hull([*(of(item) for item in operands), fill])
    return EVERYTHING


Look = Callable[[object], Range]


def _times(a: float, b: float) -> float:
    return 0.0 if a == 0.0 or b == 0.0 else a * b


def _product(given: dict[str, Any], of: Look) -> Range:
    left, right = of(given["self"]), of(given["other"])
    if given["self"] is given["other"]:
        ends = [_times(x, x) for x in left]
        return (0.0 if left[0] <= 0.0 <= left[1] else min(ends)), max(ends)
    corners = [_times(a, b) for a in left for b in right]
    return min(corners), max(corners)


def _quotient(given: dict[str, Any], of: Look) -> Range:
    low, high = of(given["other"])
    if low <= 0.0 <= high or given.get("rounding_mode") is not None:
        return EVERYTHING
    corners = [_times(a, 1.0 / b) for a in of(given["self"]) for b in (low, high)]
    return min(corners), max(corners)


def _sum(given: dict[str, Any], of: Look, *, sign: float = 1.0) -> Range:
    factor = of(given.get("alpha", 1.0))[0] * sign
    left, right = of(given["self"]), of(given["other"])
    ends = sorted((_times(factor, right[0]), _times(factor, right[1])))
    return left[0] + ends[0], left[1] + ends[1]


def _difference(given: dict[str, Any], of: Look) -> Range:
    return _sum(given, of, sign=-1.0)


def _reverse_difference(given: dict[str, Any], of: Look) -> Range:
    return _sum({"self": given["other"], "other": given["self"], "alpha": given.get("alpha", 1.0)}, of, sign=-1.0)


def _negative(given: dict[str, Any], of: Look) -> Range:
    low, high = of(given["self"])
    return -high, -low


def _rectified(given: dict[str, Any], of: Look) -> Range:
    low, high = of(given["self"])
    return max(low, 0.0), max(high, 0.0)


def _absolute(given: dict[str, Any], of: Look) -> Range:
    low, high = of(given["self"])
    return (0.0 if low <= 0.0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))


def _power(given: dict[str, Any], of: Look) -> Range:
    exponent = given.get("exponent")
    even = isinstance(exponent, int | float) and exponent > 0 and exponent % 2 == 0
    return (0.0, math.inf) if even or of(given["self"])[0] >= 0.0 else EVERYTHING


def _clamped(given: dict[str, Any], of: Look) -> Range:
    low, high = of(given["self"])
    least = given.get("min", given.get("min_val"))
    most = given.get("max", given.get("max_val"))
    if least is not None:
        low, high = max(low, of(least)[0]), max(high, of(least)[1])
    if most is not None:
        low, high = min(low, of(most)[0]), min(high, of(most)[1])
    return low, high


def _hard(given: dict[str, Any], of: Look) -> Range:
    return _clamped({"min_val": -1.0, "max_val": 1.0, **given}, of)


def _total(given: dict[str, Any], of: Look) -> Range:
    low, high = of(given["self"])
    return (0.0 if low >= 0.0 else -math.inf), (0.0 if high <= 0.0 else math.inf)


_RULES: dict[str, Callable[[dict[str, Any], Look], Range]] = {
    "mul": _product,
    "multiply": _product,
    "div": _quotient,
    "divide": _quotient,
    "true_divide": _quotient,
    "add": _sum,
    "sub": _difference,
    "subtract": _difference,
    "rsub": _reverse_difference,
    "neg": _negative,
    "negative": _negative,
    "relu": _rectified,
    "abs": _absolute,
    "absolute": _absolute,
    "pow": _power,
    "clamp": _clamped,
    "clip": _clamped,
    "clamp_min": _clamped,
    "clamp_max": _clamped,
    "hardtanh": _hard,
    "sum": _total,
}

"""Multiplication and division by constants, and negation: a diagonal operator."""

from __future__ import annotations

import torch
from torch import fx

from robspec.function.nodes import operation, plain
from robspec.lipschitz import directed
from robspec.lipschitz.call import Call
from robspec.lipschitz.shapes import channel_layout, copies
from robspec.lipschitz.stencil import LEAST_NORMAL, TINY, diagonal
from robspec.lipschitz.values import Squares, Step, Value

OPERATIONS = ("mul", "multiply", "div", "divide", "true_divide", "neg", "negative")
DATA = ("self", "other")


def bound(call: Call) -> Step:
    """Bound by the largest absolute factor, times m^(1/r) where broadcasting repeats data m times.

    Raises:
        NoGlobalConstant: both factors depend on the image, or the divisor does, or a divisor is 0.

    Source: MATH.md section 5.
    """
    left, right = call.arguments.get("self"), call.arguments.get("other")
    if call.name in ("neg", "negative"):
        return scale(call, call.value("self"), torch.tensor(-1.0, dtype=torch.float64), 0.0)
    divides = call.name in ("div", "divide", "true_divide")
    if isinstance(left, Value) and isinstance(right, Value):
        return _two(call, left, right, divides=divides)
    if divides and isinstance(right, Value):
        raise call.refuse("a constant is divided by data", "multiply instead, or bound the divisor away by design")
    value, name = (left, "other") if isinstance(left, Value) else (right, "self")
    if not isinstance(value, Value):
        raise call.refuse("neither factor depends on the image")
    if call.get("rounding_mode") is not None:
        raise call.refuse("division with rounding is not continuous", "divide without rounding_mode")
    exact, relative = call.factor(name, value.dtype)
    if not divides:
        return scale(call, value, exact, relative)
    if bool((exact == 0).any()):
        raise call.refuse("data is divided by a constant that is 0")
    return scale(call, value, 1.0 / exact, directed.add(2 * relative, directed.UNIT))


def scale(call: Call, value: Value, factors: torch.Tensor, relative: float) -> Step:
    """Answer for y = factors * value.

    Args:
        call: the node.
        value: the data.
        factors: float64, broadcastable to the output.
        relative: bound on the relative error of every factor.

    Returns:
        The step, as a stencil where the factors vary along one axis at most.
    """
    if not bool(torch.isfinite(factors).all()):
        raise call.refuse("data is multiplied by a constant that is not finite")
    largest = float(factors.abs().max()) if factors.numel() else 0.0
    if relative > 0.0 and largest < LEAST_NORMAL:
        largest = directed.add(largest, TINY)
    gain = directed.mul(largest, directed.add(1.0, 2 * relative))
    repeats = copies(call, value)
    if repeats > 1 or factors.dim() > len(value.shape):
        return call.scaled(
            value, directed.mul(gain, directed.root(repeats, call.norm)), axis=call.broadcast_axis(value)
        )
    if value.step.squares is not None and bool((factors >= 0).all()):
        return _scaled_squares(call, value, value.step.squares, gain)
    layout = channel_layout(value, factors)
    if layout is None:
        return call.scaled(value, gain)
    axes, spread = layout
    sides = tuple(value.shape[axis] for axis in axes[1:])
    return call.linear(value, diagonal(spread, sides, axes, stretch=directed.add(1.0, 2 * relative)))


def _scaled_squares(call: Call, value: Value, squares: Squares, gain: float) -> Step:
    """Scale a sum of squares by non-negative factors."""
    half = directed.sqrt(gain)
    terms = tuple(
        (u, directed.mul(a, gain), directed.mul(b, gain), directed.mul(c, half)) for u, a, b, c in squares.terms
    )
    return call.squares(terms, value.axis)


def _two(call: Call, left: Value, right: Value, *, divides: bool) -> Step:
    """Two factors that both depend on the image: only sign(q) * q of a sum of squares q is known."""
    if divides:
        raise call.refuse(
            "data is divided by data, which has no global Lipschitz constant",
            "divide by a constant; centring without rescaling is 1-Lipschitz",
        )
    for sign, other in ((left, right), (right, left)):
        squares = other.step.squares
        if squares is None or sign.node.target != torch.ops.aten.sign.default or sign.shape != other.shape:
            continue
        if _size_of(call, sign.step.inputs[0], other):
            return call.squares(squares.terms, other.axis)
    raise call.refuse(
        "the product of two tensors that both depend on the image has no global Lipschitz constant",
        "use a gate by constants, or MaxMin",
    )


def _size_of(call: Call, origin: Value, value: Value) -> bool:
    """Whether a value is q, |q| or relu(|q|) of another, q: where more is added, sign(q) times it jumps at q = 0."""
    while value is not origin:
        source = value.node.args[0] if plain(operation(value.node)) in ("relu", "abs", "absolute") else None
        found = call.lookup(source) if isinstance(source, fx.Node) else None
        if not isinstance(found, Value):
            return False
        value = found
    return origin.step.squares is not None

"""Sums and differences: of data and constants, of two branches, and centring x - mean(x)."""

from __future__ import annotations

import math
from fractions import Fraction

import torch

from robspec.lipschitz import directed
from robspec.lipschitz.branches import common_sum, joint, residual_parts, weighted
from robspec.lipschitz.call import Call
from robspec.lipschitz.residual import block_norm
from robspec.lipschitz.rules.scaling import scale
from robspec.lipschitz.shapes import copies
from robspec.lipschitz.values import Step, Value

OPERATIONS = ("add", "sub", "subtract", "rsub")
DATA = ("self", "other")


def bound(call: Call) -> Step:
    """Bound a + alpha b, a - alpha b or b - alpha a.

    Source: MATH.md section 5.
    """
    left, right = call.arguments.get("self"), call.arguments.get("other")
    alpha = call.number("alpha")
    _, doubt = call.factor("alpha", call.dtypes[0])
    sign = 1.0 if call.name == "add" else -1.0
    first, second = 1.0, sign * alpha
    if call.name == "rsub":
        first, second = -alpha, 1.0
    if isinstance(left, Value) and isinstance(right, Value):
        return _two(call, left, right, first, second, doubt)
    value, factor = (left, first) if isinstance(left, Value) else (right, second)
    if not isinstance(value, Value):
        raise call.refuse("neither operand depends on the image")
    if factor != 1.0:
        return scale(call, value, torch.tensor(factor, dtype=torch.float64), doubt)
    return _shifted(call, value, alpha)


def _shifted(call: Call, value: Value, alpha: float) -> Step:
    """Answer for data plus a constant: nothing changes unless the data is broadcast."""
    repeats = copies(call, value)
    if repeats > 1:
        return call.scaled(value, directed.root(repeats, call.norm), axis=call.broadcast_axis(value))
    if value.step.squares is not None and _at_least_zero(call, alpha):
        return call.squares(value.step.squares.terms, call.broadcast_axis(value))
    return call.same(value)


def _at_least_zero(call: Call, alpha: float) -> bool:
    """Whether a constant that is not negative is added."""
    if call.name != "add" or alpha < 0:
        return False
    tensor = call.tensor("other" if isinstance(call.arguments.get("self"), Value) else "self")
    return tensor is not None and bool((tensor >= 0).all())


def _two(call: Call, left: Value, right: Value, first: float, second: float, doubt: float) -> Step:
    axis = call.merged_axis([left, right])
    repeats = [directed.root(copies(call, v), call.norm) for v in (left, right)]
    doubted = directed.add(1.0, doubt)
    factors = [directed.mul(abs(f), m, doubted) for f, m in zip((first, second), repeats, strict=True)]
    squares = left.step.squares, right.step.squares
    if squares[0] is not None and squares[1] is not None and [first, second, *repeats] == [1.0] * 4:
        return call.squares((*squares[0].terms, *squares[1].terms), axis)
    mean = _centred(call, left, right, first, second)
    if mean is not None:
        return mean
    plain = [*repeats, doubted] == [1.0, 1.0, 1.0] and len(left.shape) == len(right.shape)
    inverse = directed.inverse(call.norm)
    weight = (
        directed.power(
            directed.add(*(directed.power(abs(f), 1 / (1 - inverse)) for f in (first, second))), 1 - inverse
        )
        if inverse < 1
        else max(abs(first), abs(second))
    )

    block = _Block(left, right, first, second) if plain and call.norm.p == 2 else None

    def reach(anchor: Value) -> float:
        apart = directed.add(
            directed.mul(factors[0], left.known[anchor]), directed.mul(factors[1], right.known[anchor])
        )
        if not plain:
            return apart
        best = min(apart, directed.mul(weight, joint([left, right], anchor, call.norm)))
        return best if block is None else min(best, block.bound(anchor))

    step = call.step([left, right], reach, axis=axis)
    return common_sum(call, step, (left, first), (right, second)) if plain else step


class _Block:
    """A residual block, bounded at most once and only when asked for."""

    def __init__(self, left: Value, right: Value, first: float, second: float) -> None:
        self._found: tuple[Value, float] | None = None
        self._pending = [(left, right, first, second), (right, left, second, first)]

    def bound(self, anchor: Value) -> float:
        """Bound the block from an anchor, infinity where it has no block form."""
        while self._pending and self._found is None:
            skip, back, a, b = self._pending.pop(0)
            parts = residual_parts(skip, back)
            if parts is None:
                continue
            origin, outer, behind, inner = parts
            outer_weighted, behind_weighted = weighted(outer, a), weighted(behind, b)
            if outer_weighted is None or behind_weighted is None:
                continue
            norm = block_norm(outer_weighted, behind_weighted, inner)
            self._found = None if norm is None else (origin, norm)
        if self._found is None or anchor not in self._found[0].known:
            return math.inf
        return directed.mul(self._found[1], self._found[0].known[anchor])


def _centred(call: Call, left: Value, right: Value, first: float, second: float) -> Step | None:
    """Recognise x - mean(x, dims, keepdim): norm 1 in l_2, 2 (1 - 1/n) in l_1 and l_infinity."""
    averages = right.step.refusal is None and right.node.target == torch.ops.aten.mean.dim
    if (first, second) != (1.0, -1.0) or not averages or len(left.shape) != len(right.shape):
        return None
    if right.step.inputs[0].source is not left.source:
        return None
    count = 1
    for wide, narrow in zip(left.shape, right.shape, strict=True):
        count *= wide if narrow != wide else 1
    edge = directed.ceil_float(2 - Fraction(2, count))
    gain = directed.between(edge, 1.0, edge, call.norm)
    if call.norm.p == 2:
        gain = 1.0
    return call.scaled(left, gain, rule="centring")

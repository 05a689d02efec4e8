"""Recognises Householder activations of order 1 and 2 by their exact formula.

On the plane of each channel pair the map is the identity on a sector and a reflection or rotation on each
other sector; neighbouring sectors agree on their common ray, so the map is continuous and piecewise
isometric, and therefore 1-Lipschitz in l_2. In l_1 and l_infinity every piece has norm |cos| + |sin| <=
sqrt(2). The sines and cosines are taken exactly: as they were folded the pieces meet only up to rounding,
which belongs to the forward pass where it is a rounding of the data's own element type.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import fx

from robspec.lipschitz import directed
from robspec.lipschitz.batch import same_for_all
from robspec.lipschitz.branches import joint
from robspec.lipschitz.call import Call
from robspec.lipschitz.expression import describe, recomputed
from robspec.lipschitz.values import Step, Value

_TURN = f"{2 * math.pi:.17g}"


def householder(call: Call, parts: Sequence[Value]) -> Step | None:
    """Bound a concatenation [a, b] that is a Householder activation of the pair (x, y).

    Args:
        call: the concatenation.
        parts: a and b.

    Returns:
        The step, or None where the formula is another.

    Source: MATH.md section 5; Singla, Singla and Feizi, Improved deterministic l2 robustness (ICLR 2022).
    """
    if len(parts) != 2:
        return None
    first, second = (_leading(part.node) for part in parts)
    if first is None or second is None or first is second:
        return None
    names = {first: "x", second: "y"}
    texts = [describe(part.node, names) for part in parts]
    if texts not in (list(_order_one()), list(_order_two())):
        return None
    pair = [call.lookup(node) for node in (first, second)]
    values = [value for value in pair if isinstance(value, Value)]
    angles = [call.lookup(node) for node, name in names.items() if name not in ("x", "y")]
    if len(values) != 2 or any(isinstance(angle, Value) for angle in angles):
        return None
    if len({tuple(value.shape) for value in (*values, *parts)}) != 1:
        return None  # a wider angle would copy the pair
    axis = call.merged_axis(values, aligned=True)
    if not all(_as_written(call, node, axis) for node in _constants(parts, first, second)):
        return None
    edge = directed.sqrt(2.0)
    gain = 1.0 if call.norm.p == 2 else directed.between(edge, 1.0, edge, call.norm)

    def reach(anchor: Value) -> float:
        return directed.mul(gain, joint(values, anchor, call.norm))

    return call.step(values, reach, axis=axis, rule="Householder")


def _constants(parts: Sequence[Value], *ends: fx.Node) -> set[fx.Node]:
    """Collect the constants that the parts are computed from, down to the pair."""
    seen, queue = set(ends), [part.node for part in parts]
    found = set()
    while queue:
        node = queue.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.op == "placeholder":
            found.add(node)
        queue += node.all_input_nodes
    return found


def _as_written(call: Call, node: fx.Node, axis: int | None) -> bool:
    """Whether a constant holds what its formula says, up to a few roundings of the data's type, for every image."""
    held, exact = call.lookup(node), recomputed(node)
    if not isinstance(held, torch.Tensor) or exact is None or held.shape != exact.shape:
        return False
    place = -1 if axis is None else axis - (len(call.shapes[0]) - held.dim())
    if place >= 0 and not same_for_all(held, place):
        return False
    allowed = 16 * torch.finfo(call.dtypes[0]).eps
    return bool(((held.to(torch.float64) - exact).abs() <= allowed * (1.0 + exact.abs())).all())


def _leading(node: fx.Node) -> fx.Node | None:
    """Follow sums to their first term, a product, and return its first factor."""
    current: object = node
    while isinstance(current, fx.Node) and current.target == torch.ops.aten.add.Tensor:
        current = current.args[0]
    if not isinstance(current, fx.Node) or current.target != torch.ops.aten.mul.Tensor:
        return None
    factor = current.args[0]
    return factor if isinstance(factor, fx.Node) else None


def _mul(a: str, b: str) -> str:
    return f"mul({a},{b})"


def _add(a: str, b: str) -> str:
    return f"add({a},{b})"


def _sub(a: str, b: str) -> str:
    return f"sub({a},{b})"


def _cos(a: str) -> str:
    return f"cos({a})"


def _sin(a: str) -> str:
    return f"sin({a})"


def _reflected(angle: str) -> tuple[str, str]:
    """Write the reflection of (x, y) across the ray at half the angle."""
    across = _add(_mul("x", _cos(angle)), _mul("y", _sin(angle)))
    return across, _sub(_mul("x", _sin(angle)), _mul("y", _cos(angle)))


def _order_one() -> tuple[str, str]:
    """Write the activation that reflects the half-plane above the ray at angle t / 2."""
    half = _mul("t0", "0.5")
    selector = _sub(_mul("x", _sin(half)), _mul("y", _cos(half)))
    below, above = f"le({selector},0)", f"gt({selector},0)"
    across = _reflected("t0")
    return (
        _add(_mul("x", below), _mul(across[0], above)),
        _add(_mul("y", below), _mul(across[1], above)),
    )


def _order_two() -> tuple[str, str]:
    """Write the activation with four sectors: identity, reflection, rotation, reflection."""
    first, second, third = (f"clamp({name},0,{_TURN})" for name in _angles_in_order())
    position = f"remainder({_sub('atan2(y,x)', _mul(first, '0.5'))},{_TURN})"
    both = _add(second, third)
    three = _add(both, f"rsub({second},{_TURN})")
    four = _add(three, f"rsub({third},{_TURN})")
    edges = [_mul(second, "0.5"), _mul(both, "0.5"), _mul(three, "0.5"), _mul(four, "0.5")]
    starts = ["0", *edges[:-1]]
    masks = [f"logical_and(ge({position},{a}),lt({position},{b}))" for a, b in zip(starts, edges, strict=True)]
    rotated = (
        _add(_mul("x", _cos(third)), _mul("y", _sin(third))),
        _add(_mul("neg(x)", _sin(third)), _mul("y", _cos(third))),
    )
    pieces = [("x", "y"), _reflected(_add(first, second)), rotated, _reflected(first)]
    sums = []
    for index in (0, 1):
        total = _mul(pieces[0][index], masks[0])
        for piece, mask in zip(pieces[1:], masks[1:], strict=True):
            total = _add(total, _mul(piece[index], mask))
        sums.append(total)
    return sums[0], sums[1]


def _angles_in_order() -> tuple[str, str, str]:
    """Name the three angles in the order in which they are met."""
    return "t0", "t1", "t2"

"""Powers and square roots: only the square root of a sum of squares has a global constant."""

from __future__ import annotations

from collections.abc import Callable

from robspec.lipschitz import directed
from robspec.lipschitz.call import Call
from robspec.lipschitz.values import Squares, Step, Value

OPERATIONS = ("pow", "square", "sqrt", "float_power")


def bound(call: Call) -> Step:
    """Bound sqrt(sum_k M_k u_k^2 + c), c >= 0, as the l_2 norm of (sqrt(M_k) u_k, sqrt(c)) in each output
    entry.

    In l_2 the bound is sqrt(sum_k colsum(M_k) L_k^2), in l_infinity sqrt(sum_k rowsum(M_k) L_k^2), in l_1
    sum_k colsum(sqrt(M_k)) L_k.

    Raises:
        NoGlobalConstant: any other power, or a walk in another l_r.
    """
    value = call.value("self")
    exponent = {"square": 2.0, "sqrt": 0.5}.get(call.name)
    if exponent is None:
        exponent = call.number("exponent")
    if exponent == 1.0:
        return call.same(value)
    if exponent == 2.0 and value.step.refusal is None:
        return call.squares(((value, 1.0, 1.0, 1.0),), value.axis)
    if exponent == 0.5 and value.step.squares is not None:
        return _root(call, value, value.step.squares)
    raise call.refuse(
        f"a power {exponent:g} of data has no global Lipschitz constant",
        "only the square root of a sum of squares is bounded",
    )


def _root(call: Call, value: Value, squares: Squares) -> Step:
    inputs = [term[0] for term in squares.terms]
    norm = call.norm
    if norm.p is not None and norm.p not in (1, 2):
        raise call.refuse("the square root of a sum of squares is bounded in l1, l2 and linf only")
    reach: Callable[[Value], float]
    if norm.p == 1:

        def reach(anchor: Value) -> float:
            return directed.add(*(directed.mul(c, u.known[anchor]) for u, _, _, c in squares.terms))

    else:

        def reach(anchor: Value) -> float:
            return directed.sqrt(
                directed.add(
                    *(
                        directed.mul(a if norm.p == 2 else b, u.known[anchor], u.known[anchor])
                        for u, a, b, _ in squares.terms
                    )
                )
            )

    return call.step(inputs, reach, axis=value.axis, rule="root of squares")

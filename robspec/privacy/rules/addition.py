"""Sums and differences: biases, and residual connections."""

from __future__ import annotations

from robspec.lipschitz import directed
from robspec.lipschitz.call import Constant
from robspec.lipschitz.values import Value
from robspec.privacy.asked import Asked, Effect, Share

OPERATIONS = ("add", "sub", "subtract", "rsub")


def effect(asked: Asked) -> Effect:
    """Bound what reaches each operand by its factor; a trained one's gradient sums over what it is added to."""
    call = asked.call
    factor = call.size("alpha")
    back: list[tuple[Value, float]] = []
    shares: list[Share] = []
    forward = []
    for name in ("self", "other"):
        item = call.arguments.get(name)
        scaled = factor if name == ("self" if call.name == "rsub" else "other") else 1.0
        if isinstance(item, Value):
            gain = directed.mul(scaled, asked.repeated(item))
            back.append((item, gain))
            forward.append(directed.mul(gain, asked.sizes[item]))
            continue
        constant = item.value if isinstance(item, Constant) else item
        repeats, parameter = asked.occurrences(constant), asked.parameter(name)
        forward.append(directed.mul(scaled, asked.shift(constant, parameter, repeats)))
        if parameter:
            shares.append(Share(parameter, directed.mul(scaled, directed.sqrt(repeats)), f"sqrt({repeats:g})"))
    return Effect(tuple(back), directed.add(*forward), tuple(shares))

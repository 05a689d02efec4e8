"""Products with constants entry by entry: normalisation, and learnt gains."""

from __future__ import annotations

from robspec.lipschitz import directed
from robspec.privacy.asked import Asked, Effect, Share

OPERATIONS = ("mul", "multiply", "div", "divide", "true_divide", "neg", "negative")


def effect(asked: Asked) -> Effect:
    """Bound the gradient of a trained factor by G X, whatever it is broadcast to (Cauchy-Schwarz for each entry).

    Source: PRIVACY.md.
    """
    source = asked.source
    parameter = asked.parameter("self") or asked.parameter("other")
    if not parameter:
        return asked.one(asked.gain())
    if "div" in asked.call.name:
        raise asked.refuse(f"it divides by {parameter}, which is trained", "multiply by it instead")
    repeats = asked.repeated(source)
    gain = directed.mul(asked.envelope.operator, repeats) if asked.envelope is not None else asked.gain()
    size = asked.sizes[source]
    share = Share(parameter, directed.mul(size, repeats), "X" if repeats == 1.0 else f"X {repeats:.6g}")
    return Effect(((source, gain),), directed.mul(gain, size), (share,))

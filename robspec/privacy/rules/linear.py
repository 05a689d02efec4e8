"""Products with one matrix at every position."""

from __future__ import annotations

import torch

from robspec.lipschitz import directed
from robspec.privacy.asked import Asked, Effect, Share

OPERATIONS = ("linear", "mm", "matmul", "addmm", "mv")
_WEIGHTS = ("weight", "self", "other", "mat1", "mat2", "vec")


def effect(asked: Asked) -> Effect:
    """Bound the gradient of the matrix, a sum of outer products over positions, by G X (Cauchy-Schwarz).

    That of a bias is the sum over the positions it is added at: G times the root of their number.

    Source: PRIVACY.md.
    """
    call = asked.call
    bias_name = "self" if call.name == "addmm" else "bias"
    if call.name == "addmm" and (call.number("alpha"), call.number("beta")) != (1.0, 1.0):
        raise asked.refuse("alpha or beta is not 1", "write the factors as operations of their own")
    named = [asked.parameter(name) for name in _WEIGHTS if (call.name, name) != ("addmm", "self")]
    weight = next((name for name in named if name), "")
    source = asked.source
    size = asked.sizes[source]
    gain = asked.operator(weight)
    shares = [Share(weight, size, "X")] if weight else []
    bias = call.get(bias_name) if call.name in ("addmm", "linear") else None
    shift = 0.0
    if isinstance(bias, torch.Tensor):
        repeats = asked.occurrences(bias)
        name = asked.parameter(bias_name)
        shift = asked.shift(bias, name, repeats)
        if name:
            shares.append(Share(name, directed.sqrt(repeats), f"sqrt({repeats:g})"))
    return Effect(((source, gain),), directed.add(directed.mul(gain, size), shift), tuple(shares))

"""Sums and differences: one rounding, and one more where a factor is applied."""

from __future__ import annotations

import torch

from robspec.lipschitz import directed
from robspec.lipschitz.call import Constant
from robspec.lipschitz.rounding.charge import Asked, Charge, Term
from robspec.lipschitz.values import Value

OPERATIONS = ("add", "sub", "subtract", "rsub")


def charge(asked: Asked) -> Charge:
    """Bound the error by u of what is added, by more where a factor is applied first.

    A sum of numbers of the type never underflows.
    """
    plain = abs(asked.call.number("alpha")) == 1.0
    factor = 1.0 if plain else asked.call.size("alpha")
    weight = asked.precision.gamma(1 if plain else 3)
    terms: list[Term] = []
    absolute = 0.0
    for name in ("self", "other"):
        item = asked.call.arguments.get(name)
        scaled = factor if name == ("self" if asked.call.name == "rsub" else "other") else 1.0
        if isinstance(item, Value):
            gain = directed.mul(scaled, asked.repeated(item))
            terms.append(Term(item, gain, directed.mul(weight, gain)))
            continue
        constant = item.value if isinstance(item, Constant) else item
        tensor = (
            torch.as_tensor(constant, dtype=torch.float64) if not isinstance(constant, torch.Tensor) else constant
        )
        absolute = directed.mul(weight, scaled, asked.spread(tensor.detach().to(torch.float64)))
    lost = asked.everywhere(asked.precision.tiny) if not plain else 0.0
    return Charge(tuple(terms), directed.add(absolute, lost), "one sum")

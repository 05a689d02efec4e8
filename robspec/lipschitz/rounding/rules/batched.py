"""Products with stacks of constant matrices, and sums over named dimensions."""

from __future__ import annotations

import torch

from robspec.lipschitz import directed
from robspec.lipschitz.rounding.charge import Asked, Charge, Term, length

OPERATIONS = ("bmm", "outer", "inner", "tensordot", "einsum")


def charge(asked: Asked) -> Charge:
    """Bound || |W| || by the Frobenius norm of the constant, and the products of a sum by its entries.

    A constant that is repeated for other dimensions of the data acts on each by itself.
    """
    items = [i for v in asked.call.arguments for i in _items(asked.call.get(v))]
    constants = [item for item in items if isinstance(item, torch.Tensor) and item.is_floating_point()]
    if len(constants) != 1:
        raise asked.refuse("it has no single constant factor")
    constant = constants[0].detach().to(torch.float64)
    terms = max(constant.numel(), 1) + 4
    weight, size = asked.precision.gamma(terms), length(constant)
    lost = asked.everywhere(directed.mul(float(terms), asked.precision.tiny))
    return Charge(
        (Term(asked.source, asked.gain(), directed.mul(weight, size)),), lost, f"at most {terms} products a sum"
    )


def _items(found: object) -> list[object]:
    return list(found) if isinstance(found, list) else [found]

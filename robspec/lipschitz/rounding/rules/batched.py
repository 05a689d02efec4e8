"""Products with stacks of constant matrices, and sums over named dimensions."""

from __future__ import annotations

from robspec.lipschitz import directed
from robspec.lipschitz.rounding.charge import Asked, Charge, Term, length
from robspec.lipschitz.rules import batched_matrix, einsum

OPERATIONS = ("bmm", "outer", "inner", "tensordot", "einsum")


def charge(asked: Asked) -> Charge:
    """Bound || |W| || by the Frobenius norm of the constant, times a root where more than its entries is summed.

    A constant that is repeated for other dimensions of the data acts on each by itself. Of d entries of it that meet
    the same data, and of a entries of data that are summed with equal weight, || |W| || <= sqrt(d a) || c ||_F.
    """
    call = asked.call
    found = (
        einsum.product(call) if call.name == "einsum" else batched_matrix.factors(call, batched_matrix.names_of(call))
    )
    products, repeated = found.sums()
    terms = products + 4
    size = directed.mul(length(found.given.tensor), directed.sqrt(float(repeated)))
    weight = asked.precision.gamma(terms)
    lost = asked.everywhere(directed.mul(float(terms), asked.precision.tiny))
    return Charge((Term(asked.source, asked.gain(), directed.mul(weight, size)),), lost, f"{terms} products a sum")

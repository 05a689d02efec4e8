"""Convolutions and products with a constant matrix: sums of products in any order, fused or not."""

from __future__ import annotations

from robspec.lipschitz import directed
from robspec.lipschitz.rounding.absolute import absolute_norm, products
from robspec.lipschitz.rounding.charge import Asked, Charge, Term

OPERATIONS = (
    *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution"),
    *("linear", "mm", "matmul", "addmm", "mv"),
)


def charge(asked: Asked) -> Charge:
    """Bound the error by gamma_n || |W| || ||x~|| for sums of n products, and what underflows.

    Source: Higham 2002, section 3.5.
    """
    own = asked.value.step.own
    if own is None:
        raise asked.refuse("it is not written as one matrix at every position")
    gain, terms = absolute_norm(own), products(own) + 4
    bias, factor = None, 1.0
    if asked.call.name == "addmm":
        bias, factor = asked.call.tensor("self"), asked.call.size("beta")
    elif "bias" in asked.call.arguments:
        bias = asked.call.tensor("bias")
    weight = asked.precision.gamma(terms)
    fixed = 0.0 if bias is None else directed.mul(weight, factor, asked.spread(bias))
    lost = asked.everywhere(directed.mul(float(terms), asked.precision.tiny))
    return Charge(
        (Term(asked.source, gain, directed.mul(weight, gain)),), directed.add(fixed, lost), f"{terms} products a sum"
    )

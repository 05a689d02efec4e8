"""Batch normalisation with stored statistics, computed as x a + (b - m a)."""

from __future__ import annotations

import torch

from robspec.lipschitz import directed
from robspec.lipschitz.rounding.charge import Asked, Charge, Term

OPERATIONS = (
    "batch_norm",
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm",
)


def charge(asked: Asked) -> Charge:
    """Bound the error by gamma_16 (|x a| + |m a| + |b|): the factor a alone takes half a dozen roundings."""
    call = asked.call
    mean, variance = call.weight("running_mean"), call.weight("running_var")
    factors = 1.0 / torch.sqrt(variance + call.number("eps" if "eps" in call.arguments else "epsilon"))
    if call.tensor("weight") is not None:
        factors = factors * call.weight("weight")
    shift = (mean * factors).abs()
    if call.tensor("bias") is not None:
        shift = shift + call.weight("bias").abs()
    weight = asked.precision.gamma(16)
    gain = asked.gain()
    fixed = directed.mul(weight, asked.spread(shift), 1.0 + 1e-9)
    lost = asked.everywhere(4.0 * asked.precision.tiny)
    return Charge(
        (Term(asked.source, gain, directed.mul(weight, gain)),), directed.add(fixed, lost), "factor and shift"
    )

"""Casts: nothing is lost on the way to a wider type, and one rounding on the way back."""

from __future__ import annotations

import torch

from robspec.lipschitz.rounding.charge import Asked, Charge

OPERATIONS = ("to", "_to_copy")


def charge(asked: Asked) -> Charge:
    """Bound the error by u of what is stored, and what underflows.

    Run in float64 throughout, the network rounds nothing here.
    """
    if (
        asked.precision.name == "float64"
        or torch.finfo(asked.source.dtype).bits <= torch.finfo(asked.value.dtype).bits
    ):
        return asked.one(0.0)
    return asked.one(asked.precision.gamma(1), asked.everywhere(asked.precision.tiny), "one rounding")

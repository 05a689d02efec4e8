"""Sums and means of data: of windows, of whole dimensions, of overlapping patches."""

from __future__ import annotations

import math

from robspec.lipschitz import directed
from robspec.lipschitz.rounding.charge import Asked, Charge

_FIXED = ("avg_pool1d", "avg_pool2d", "avg_pool3d")
_ADAPTIVE = ("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
OPERATIONS = (*_FIXED, *_ADAPTIVE, "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "mean", "sum", "col2im")


def charge(asked: Asked) -> Charge:
    """Bound the error by gamma_(n + 3) of the result for sums of n entries: all weights have one sign."""
    terms = _terms(asked) + 3
    gain = asked.gain()
    lost = asked.everywhere(2.0 * asked.precision.tiny)
    return asked.one(directed.mul(asked.precision.gamma(terms), gain), lost, f"{terms - 3} terms a sum")


def _terms(asked: Asked) -> int:
    call, shape = asked.call, asked.source.shape
    if call.name in ("mean", "sum"):
        return math.prod(shape[dim] for dim in call.dims("dim", len(shape)))
    if call.name in _FIXED:
        sides = int(call.name[-2])
        return math.prod(call.integers("kernel_size", sides))
    if call.name == "col2im":
        return math.prod(call.integers("kernel_size", 2))
    sides = int(call.name[-2])
    return math.prod(-(-a // b) + 1 for a, b in zip(shape[-sides:], asked.value.shape[-sides:], strict=True))

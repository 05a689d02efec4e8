"""Powers of two that keep norms away from underflow and overflow: computed as 0 is not 0."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import torch

from robspec.lipschitz import directed
from robspec.lipschitz.stencil import TINY, Stencil

_COMFORTABLE = 100
"""Within 2^-100 to 2^100 the squares of the largest entries dwarf whatever underflows beside them."""


def exponent(tensor: torch.Tensor) -> int:
    """Find e with 2^(e - 1) <= the largest absolute entry < 2^e; 0 where no power of two is needed.

    Args:
        tensor: float64.

    Returns:
        e, or 0 for tensors of zeros, of infinities, and of comfortable size.
    """
    largest = float(tensor.abs().max()) if tensor.numel() else 0.0
    if largest == 0.0 or not math.isfinite(largest):
        return 0
    found = math.frexp(largest)[1]
    return found if abs(found) > _COMFORTABLE else 0


def scaled(tensor: torch.Tensor, power: int) -> torch.Tensor:
    """Multiply by 2^power; each entry is off by at most TINY, and exact where power >= 0 and nothing overflows."""
    half = power // 2
    return tensor * 2.0**half * 2.0 ** (power - half)


def scale_up(value: float, power: int) -> float:
    """Multiply a bound by 2^power, rounding up."""
    return directed.ceil_float(Fraction(value) * Fraction(2) ** power) if math.isfinite(value) else math.inf


def levelled(stencil: Stencil) -> tuple[Stencil, int]:
    """Bring the entries of a stencil to a comfortable size.

    Args:
        stencil: any stencil.

    Returns:
        A stencil whose norm times 2^e bounds that of the given one, and e.
    """
    power = exponent(stencil.kernels)
    if power == 0:
        return stencil, 0
    slack = directed.add(scale_up(stencil.slack, -power), underflow(stencil.kernels.numel()))
    return replace(stencil, kernels=scaled(stencil.kernels, -power), slack=slack), power


def underflow(products: int) -> float:
    """Bound the sum of what so many products may lose by underflow."""
    return directed.mul(float(products), TINY)

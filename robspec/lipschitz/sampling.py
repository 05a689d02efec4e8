"""Fewer frequencies than a torus has: what lies between the samples of a short trigonometric polynomial."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import torch

from robspec.lipschitz import directed

PER_DEGREE = 8
"""Samples of a dimension for each degree."""
_STRETCH = Fraction(10824, 10000)
"""Above 1 / cos(pi / 8) = 1.082392..., the growth between samples at PER_DEGREE times the degree."""

_WORTHWHILE = 4
_EXCESS = Fraction(1, 1 << 20)


def degrees(keys: Sequence[tuple[int, ...]], dims: int) -> list[int]:
    """Say of which degree the Gram matrix is in each dimension: as far as the kernel reaches."""
    return [max(key[dim] for key in keys) - min(key[dim] for key in keys) for dim in range(dims)]


def coarse_grid(keys: Sequence[tuple[int, ...]], sides: Sequence[int]) -> tuple[int, ...] | None:
    """Choose a grid that is coarser than the torus, where the kernel is short enough for one.

    Args:
        keys: the shifts q of the kernel, within the sides.
        sides: the torus sides N.

    Returns:
        Per dimension 8 times the degree of the Gram matrix, or N where that is no more; None where this saves
        less than three quarters of the frequencies.
    """
    reach = degrees(keys, len(sides))
    coarse = tuple(min(side, max(1, PER_DEGREE * r)) for side, r in zip(sides, reach, strict=True))
    return coarse if _WORTHWHILE * math.prod(coarse) <= math.prod(sides) else None


def worth_sampling(still: torch.Tensor) -> bool:
    """Guess from one frequency whether the samples will spread too much; a hint only, nothing rests on it.

    Args:
        still: the transfer matrices at frequency 0, shape (groups, rows, columns), rows <= columns.

    Returns:
        Whether their squared singular values lie close together, as those of an orthogonal convolution do.
    """
    gram = still @ still.transpose(-1, -2)
    middle = gram.diagonal(dim1=-2, dim2=-1).mean()
    away = gram - middle * torch.eye(gram.shape[-1], dtype=gram.dtype)
    deviation = float(away.square().mean(dim=(-2, -1)).max()) ** 0.5 * gram.shape[-1] ** 0.5
    return bool(deviation * float(_STRETCH - 1) <= float(_EXCESS) * float(middle))


def between_samples(upper: float, lower: float, refined: int) -> float | None:
    """Bound a family of Hermitian matrices at all frequencies from its extremes on the coarse grid.

    For a unit vector v and the middle c of the extremes, v* (G - c I) v is a real trigonometric polynomial of degree
    at most m along each dimension. Around a point where its size is largest, M, it is at least M cos(m t) at
    distance t <= pi / m, and one of N equally spaced samples lies within pi / N: so it is at most 1 / cos(pi m / N)
    times the largest sample, along each dimension in turn.

    Args:
        upper: at least the largest eigenvalue of every sample.
        lower: at most the smallest.
        refined: along how many dimensions the samples are fewer than the frequencies.

    Returns:
        A bound on the largest eigenvalue at every frequency, rounded up; None where it is not close to `upper`,
        because the samples spread too much.

    Source: M. Riesz, Jahresbericht der DMV 23 (1914); Ehlich and Zeller, Math. Zeitschrift 86 (1964).
    """
    if not (math.isfinite(upper) and math.isfinite(lower)):
        return None
    top, spread = Fraction(upper), Fraction(upper) - Fraction(lower)
    excess = (_STRETCH**refined - 1) * max(spread, Fraction(0)) / 2
    return directed.ceil_float(top + excess) if excess <= _EXCESS * top else None

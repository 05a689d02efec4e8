"""Frequencies of a discrete torus, and phases computed from exactly reduced integer turns."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch

PHASE_ERROR = 2.0**-48
"""Bound on the absolute error of a computed cosine or sine of 2 pi k / N, 0 <= k < N."""


def half_grid(sides: Sequence[int]) -> torch.Tensor:
    """List one frequency of each pair j, -j: real kernels give conjugate transfer matrices.

    Args:
        sides: the torus sides N.

    Returns:
        int64, shape (frequencies, dims).
    """
    chosen = []
    for index in itertools.product(*(range(side) for side in sides)):
        mirror = tuple(-j % side for j, side in zip(index, sides, strict=True))
        if index <= mirror:
            chosen.append(index)
    return torch.tensor(chosen, dtype=torch.int64).reshape(len(chosen), len(sides))


def angles(keys: Sequence[tuple[int, ...]], frequencies: torch.Tensor, sides: Sequence[int]) -> torch.Tensor:
    """Compute 2 pi <j / N, q>, the fraction reduced exactly in integers.

    Args:
        keys: the shifts q.
        frequencies: int64, shape (frequencies, dims).
        sides: the torus sides N.

    Returns:
        float64, shape (frequencies, keys).
    """
    period = math.prod(sides)
    shifts = torch.tensor(list(keys), dtype=torch.int64).reshape(len(keys), len(sides))
    turns = torch.zeros(len(frequencies), len(keys), dtype=torch.int64)
    for dim, side in enumerate(sides):
        product = frequencies[:, dim : dim + 1] * shifts[:, dim].unsqueeze(0) % side
        turns += product * (period // side)
    return (turns % period).to(torch.float64) * (2.0 * math.pi / period)

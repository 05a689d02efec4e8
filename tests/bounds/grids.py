"""Small fixed up-samplings, by their weights and as dense matrices."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from robspec.kernels.coarse.grid import Axis, Grid
from robspec.lipschitz.ending import interpolation, matrix


def upsampling(kind: str, nodes: tuple[int, int], sides: tuple[int, int]) -> tuple[Grid, npt.NDArray[Any]]:
    """Make an up-sampling.

    Args:
        kind: "bilinear", "aligned" at the corners, or "nearest".
        nodes: height and width of what is enlarged.
        sides: what it becomes.

    Returns:
        The grid, and the matrix that multiplies nodes row by row, [H W, h w].
    """
    lines = [
        [{o * a // b: Fraction(1)} for o in range(b)]
        if kind == "nearest"
        else [dict(r) for r in interpolation(a, b, kind == "aligned", None)]
        for a, b in zip(nodes, sides, strict=True)
    ]
    grid = Grid(*(Axis.of(rows, a) for rows, a in zip(lines, nodes, strict=True)))
    return grid, np.kron(*(matrix(rows, a).numpy() for rows, a in zip(lines, nodes, strict=True)))

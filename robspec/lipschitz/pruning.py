"""The largest eigenvalue on a large torus from few frequencies: a cell is left out when its middle says that it may.

For a unit vector v, g = v* G v is a real trigonometric polynomial of degree at most m in each frequency, and where
no eigenvalue at any angle is above S, f = 2 g / S - 1 lies in [-1, 1]. So |d arccos f| <= m |d theta| (Bernstein,
Szegoe): what is not above t somewhere in a cell can be seen from its middle. And where g is S, it is S (1 + cos(m
theta)) / 2 or more at a distance theta (M. Riesz): the middle of the cell that holds the largest of all is no
smaller than that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch

from robspec.lipschitz import definite, directed
from robspec.lipschitz.sampling import PER_DEGREE

Matrices = Callable[[torch.Tensor], Iterator[torch.Tensor]]

_WORTHWHILE = 16
_FEW = 20
"""Cells of so few frequencies are taken apart at once where none could be left out."""
_MARGIN = 1e-9
"""Relative, far above the rounding of angles and cosines."""
_SHORT = 1e-12
"""Far above the rounding of what an arccosine is taken of, which near 1 moves the angle by a root of it."""


def worth_pruning(reach: Sequence[int], sides: Sequence[int]) -> bool:
    """Guess whether cells will be fewer than frequencies.

    Args:
        reach: per dimension the degree of the Gram matrix.
        sides: the torus sides N.
    """
    return _WORTHWHILE * math.prod(_cells(reach, sides)) <= math.prod(sides)


def largest_on_torus(
    matrices: Matrices, reach: Sequence[int], sides: Sequence[int], groups: int, most: float, error: float
) -> float:
    """Bound from above the largest eigenvalue of the Gram matrices at every frequency of a torus.

    Args:
        matrices: for frequencies, int64 [F, dims], batches of Gram matrices in their order, `groups` at each.
        reach: per dimension the degree m of the Gram matrix as a trigonometric polynomial.
        sides: the torus sides N.
        groups: how many matrices there are at each frequency.
        most: no eigenvalue is above it at any angle, on the grid or not; however much too large.
        error: bound in l_2 on the error of every stored matrix, rounded up.

    Returns:
        As `definite.largest_eigenvalue` of all of them.

    Source: S. N. Bernstein 1926; G. Szegoe 1928; MATH.md section 5.
    """
    low, high = _cut(reach, sides)
    # In half of the first dimension: real kernels give conjugate matrices at j and -j.
    inside = low[:, 0] <= high[-1, 0] // 2
    low, high = low[inside], high[inside]
    weights = torch.tensor([2 * math.pi * m / n for m, n in zip(reach, sides, strict=True)], dtype=torch.float64)
    candidate, bound, widest = definite.FLOOR, 0.0, 0.0
    while len(low):
        middle = (low + high - 1) // 2
        # To the ends of the cell and half a step farther: cells meet, so that no angle is left out.
        turns = ((torch.maximum(middle - low, high - 1 - middle) + 0.5) * weights).sum(1) * (1 + _MARGIN)
        alone = (high - low == 1).all(1)
        failed, candidate, bound = _looked_at(matrices(middle), turns, alone, groups, most, candidate, error)
        if not math.isfinite(bound):
            return bound
        open_ = failed & ~alone
        # Whatever is above all others is in none of the cells left out: what they hold is not above the candidate.
        widest = max([widest, *turns[alone].tolist()])
        most = min(most, _largest(bound, max([widest, *turns[open_].tolist()])))
        flat = bool(open_.all()) and float((high - low).prod(1).double().mean()) <= _FEW
        low, high = low[open_], high[open_]
        while True:
            low, high = _halved(low, high)
            if not flat or not bool((high - low > 1).any()):
                break
    return bound


def _looked_at(
    batches: Iterator[torch.Tensor],
    turns: torch.Tensor,
    alone: torch.Tensor,
    groups: int,
    most: float,
    candidate: float,
    error: float,
) -> tuple[torch.Tensor, float, float]:
    """Tell which cells stay, with a candidate that no eigenvalue in their middles, or in the others, is above.

    Returns:
        Whether a cell stays, the candidate, and what it proves.
    """
    failed, bound, start = torch.zeros(len(turns), dtype=torch.bool), 0.0, 0
    for batch in batches:
        count = len(batch) // groups
        of = slice(start, start + count)
        limits = torch.tensor([_least(candidate, most, turn) for turn in turns[of].tolist()], dtype=torch.float64)
        limits = torch.where(alone[of], candidate, limits).repeat_interleave(groups)
        passed = definite.at_most(batch, limits, error)
        failed[of] = ~passed.reshape(count, groups).all(1)
        start += count
        candidate = definite.raised(batch[~passed], candidate)
        bound = definite.proved(candidate, int(batch.shape[-1]), error)
    return failed, candidate, bound


def _least(target: float, most: float, turn: float) -> float:
    """What the middle of a cell must not be above so that nothing in the cell is above a target; below 0 for nothing.

    Args:
        target: at most `most`, or nothing is above it anyway.
        most: no eigenvalue anywhere is above it.
        turn: the sum over dimensions of degree times angle from the middle to an end, rounded up.
    """
    angle = math.acos(min(max(2 * (target / most) - 1 - _SHORT, -1.0), 1.0)) + turn
    return most * ((1 + math.cos(angle)) / 2) - _MARGIN * most if angle < math.pi else -1.0


def _largest(middle: float, turn: float) -> float:
    """What no eigenvalue at any angle is above, from the middle of the largest one's cell; see `_least`."""
    part = (1 + math.cos(turn)) / 2 if turn < math.pi else 0.0
    return directed.mul(middle, 1 / part, 1 + _MARGIN) if part > _MARGIN else math.inf


def _cells(reach: Sequence[int], sides: Sequence[int]) -> list[int]:
    """Into how many cells each dimension is cut at first."""
    return [min(side, max(1, PER_DEGREE * m)) for m, side in zip(reach, sides, strict=True)]


def _cut(reach: Sequence[int], sides: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """The first frequency of every cell, and that after its last; where nothing depends on a dimension, just one."""
    ends = []
    for m, side, count in zip(reach, sides, _cells(reach, sides), strict=True):
        ends.append([side * k // count for k in range(count + 1)] if m else [0, 1])
    lows = torch.cartesian_prod(*(torch.tensor(some[:-1]) for some in ends)).reshape(-1, len(sides))
    highs = torch.cartesian_prod(*(torch.tensor(some[1:]) for some in ends)).reshape(-1, len(sides))
    return lows, highs


def _halved(low: torch.Tensor, high: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut cells in half along every dimension in which they hold more than one frequency."""
    for dim in range(low.shape[1]):
        several = high[:, dim] - low[:, dim] > 1
        before, behind = high.clone(), low.clone()
        before[several, dim] = behind[several, dim] = (low[several, dim] + high[several, dim]) // 2
        low, high = torch.cat((low, behind[several])), torch.cat((before, high[several]))
    return low, high

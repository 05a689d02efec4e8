"""Balls of l1, l2 and linf, many at once: sizes, steps, projections and proximal maps of changes [N, C, H, W].

Everything here is as exact as its type. Whoever uses a result measures it, rounding up (`robspec.verify.descent`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from robspec.semantics.norm import L1, L2, LINF, Norm

NORMS = (L1, L2, LINF)
_SPARSE = 0.01
"""The share of entries that a step in l1 moves."""


def sizes(change: Tensor, norm: Norm) -> Tensor:
    """Compute norms, [N] in double."""
    order = {L1: 1, L2: 2, LINF: torch.inf}[norm]
    found: Tensor = torch.linalg.vector_norm(change.double().flatten(1), ord=order, dim=1)
    return found


def spread(values: Tensor) -> Tensor:
    """Shape one number for each image so that it multiplies images."""
    return values[:, None, None, None]


def steepest(slope: Tensor, norm: Norm) -> Tensor:
    """Give directions of norm 1 along which a function rises most; in l1 the largest entries of its gradient.

    Args:
        slope: its gradient.
        norm: l1, l2 or linf.

    Source: for l1 the sparse step of Tramer and Boneh, "Adversarial Training and Robustness for Multiple
    Perturbations", NeurIPS 2019, the entries moved by their size where theirs are all moved alike.
    """
    if norm == LINF:
        return slope.sign()
    if norm == L2:
        return slope / spread(sizes(slope, L2).clamp_min(1e-30)).to(slope.dtype)
    flat = slope.flatten(1)
    count = _moved(flat.shape[1])
    places = flat.abs().topk(count, dim=1).indices
    kept = torch.zeros_like(flat).scatter(1, places, flat.gather(1, places))
    return (kept / kept.double().abs().sum(dim=1, keepdim=True).clamp_min(1e-30)).to(slope.dtype).view_as(slope)


def straight(short: Tensor, slope: Tensor) -> Tensor:
    """Give how far to go down the gradients of sums of squares until these are 0, were their roots linear.

    Args:
        short: the sums, [N] in double.
        slope: their gradients [N, C, H, W].

    Returns:
        Multiples of the gradients, [N] in double; where all squares are of linear functions, never too far.

    Source: the step of Polyak, "Minimization of Unsmooth Functionals", 1969, for the root of the sum.
    """
    squared = sizes(slope, L2) ** 2
    # Nowhere where there is no slope; and nothing beyond what a float holds.
    return torch.where(squared > 0, 2 * short / squared.clamp_min(1e-300), 0.0).clamp_max(1e30)


def inside(change: Tensor, eps: Tensor, norm: Norm) -> Tensor:
    """Project changes onto balls.

    Args:
        change: of any size.
        eps: radii, [N] in double; infinity for no limit.
        norm: l1, l2 or linf.

    Source: for l1 Duchi, Shalev-Shwartz, Singer and Chandra, "Efficient Projections onto the l1-Ball", ICML 2008.
    """
    if norm == LINF:
        ends = spread(eps).to(change.dtype)
        return change.clamp(-ends, ends)
    if norm == L2:
        return (change * spread((eps / sizes(change, L2).clamp_min(1e-30)).clamp_max(1.0))).to(change.dtype)
    return _toward_zero(change, _excess(change, eps))


def shrunk(change: Tensor, by: Tensor, norm: Norm) -> Tensor:
    """Apply the proximal map of a multiple of the norm: make changes smaller at the least loss of squares.

    Args:
        change: of any size.
        by: the multiples, [N] in double.
        norm: l1, l2 or linf.

    Source: Parikh and Boyd, "Proximal Algorithms", 2014, section 6.5: by Moreau's identity it takes away the
    projection onto the ball of the dual norm.
    """
    dual = {L1: LINF, L2: L2, LINF: L1}[norm]
    return change - inside(change, by, dual)


def _moved(entries: int) -> int:
    return max(round(_SPARSE * entries), min(8, entries))


def weight(change: Tensor, norm: Norm) -> float:
    """The multiple of the norm whose proximal map shortens by one a change that `steepest` steps have made."""
    entries = change[0].numel()
    return {L1: 1 / _moved(entries), L2: 1.0, LINF: float(entries)}[norm]


def _excess(change: Tensor, eps: Tensor) -> Tensor:
    """By how much each entry has to shrink for the changes to fit in l1, [N] in double."""
    flat = change.double().abs().flatten(1)
    found = flat.sort(dim=1, descending=True).values
    over = found.cumsum(dim=1) - torch.where(eps.isinf(), torch.finfo(torch.float64).max, eps)[:, None]
    ranks = torch.arange(1, flat.shape[1] + 1, dtype=torch.float64)
    last = ((found - over / ranks) > 0).sum(dim=1).clamp_min(1)
    level = over.gather(1, last[:, None] - 1)[:, 0] / last
    return level.clamp_min(0.0)


def _toward_zero(change: Tensor, by: Tensor) -> Tensor:
    kept = (change.double().abs() - spread(by)).clamp_min(0.0)
    return (change.sign() * kept).to(change.dtype)

"""Certified upper bounds on the largest eigenvalue of Hermitian matrices, by a completed Cholesky factorisation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch

from robspec.lipschitz import directed

STEP = 2.0**-22
"""Relative distance (2.4e-7) between an estimated largest eigenvalue and the value that is then proved."""

_FLOOR = 1e-280

Chunks = Callable[[], Iterator[torch.Tensor]]


def cholesky_slack(size: int, trace: float) -> float:
    """Bound how negative an eigenvalue can be although a float64 Cholesky factorisation ran to completion.

    A completed factorisation satisfies R*R = A + E with |E| <= gamma |R*||R| entry by entry, gamma = gamma_(n+1) for real
    and at most gamma_(4(n+1)) for complex arithmetic, whatever the order of summation; and the trace of |R*||R| is the trace of R*R.

    Args:
        size: n, the order of the matrix.
        trace: an upper bound on its trace.

    Returns:
        s with lambda_min(A) >= -s, rounded up.

    Source: Higham, Accuracy and Stability of Numerical Algorithms, theorem 10.3; Rump, BIT 46 (2006).
    """
    weight = directed.gamma(8 * (size + 2))
    return directed.mul(weight, 1.0 + 1e-6, trace)


def largest_eigenvalue(matrices: Chunks, error: float) -> float:
    """Bound from above the largest eigenvalue over a family of positive semi-definite Hermitian matrices.

    A candidate is raised until every matrix passes: candidate * I - G has a completed Cholesky factorisation.

    Args:
        matrices: returns an iterator over batches, float64 or complex128, shape (batch, n, n); called once.
        error: bound in l_2 on the error of every stored matrix, rounded up.

    Returns:
        An upper bound, within a relative STEP (plus rounding) of the largest eigenvalue.

    Source: MATH.md section 5.
    """
    candidate = _FLOOR
    slack = 0.0
    for batch in matrices():
        size = int(batch.shape[-1])
        if not bool(torch.isfinite(torch.view_as_real(batch) if batch.is_complex() else batch).all()):
            return math.inf
        if size == 1:
            peak = float(batch.real.max()) if batch.is_complex() else float(batch.max())
            candidate = max(candidate, peak)
            continue
        candidate = _raise_to_pass(batch, candidate)
        slack = max(slack, cholesky_slack(size, directed.mul(float(size), candidate, 1.0 + 1e-9)))
    rounding = directed.mul(4 * directed.UNIT, candidate)
    return directed.add(candidate, slack, rounding, error)


def _raise_to_pass(batch: torch.Tensor, candidate: float) -> float:
    """Raise the candidate until candidate * I - G is proved positive for every matrix of the batch."""
    norms = torch.linalg.vector_norm(batch.abs(), dim=(-2, -1))
    pending = batch[~(norms * (1.0 + 1e-7) <= candidate)]
    if pending.shape[0] == 0:
        return candidate
    estimate = float(_lanczos(pending).max())
    candidate = max(candidate, estimate * (1.0 + STEP))
    eye = torch.eye(batch.shape[-1], dtype=batch.dtype)
    while pending.shape[0]:
        _, info = torch.linalg.cholesky_ex(candidate * eye - pending)
        pending = pending[info != 0]
        if pending.shape[0]:
            sample = pending[: min(8, pending.shape[0])]
            top = float(torch.linalg.eigvalsh(sample)[:, -1].max())
            candidate = max(candidate * (1.0 + STEP), top * (1.0 + STEP))
    return candidate


def _lanczos(batch: torch.Tensor, steps: int = 16) -> torch.Tensor:
    """Estimate the largest eigenvalue of each matrix from below; a hint only, nothing rests on it."""
    size = int(batch.shape[-1])
    if size <= 24:
        return torch.linalg.eigvalsh(batch)[:, -1]
    steps = min(steps, size)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(size, 1, generator=generator, dtype=torch.float64).to(batch.dtype)
    vector = (start / torch.linalg.vector_norm(start)).expand(batch.shape[0], size, 1)
    basis = vector
    projected = torch.zeros(batch.shape[0], steps, steps, dtype=batch.dtype)
    for step in range(steps):
        image = batch @ vector
        column = basis.mH @ image
        projected[:, : step + 1, step] = column[:, :, 0]
        image = image - basis @ column
        image = image - basis @ (basis.mH @ image)
        length = torch.linalg.vector_norm(image, dim=-2, keepdim=True).clamp_min(1e-300)
        vector = image / length
        if step + 1 < steps:
            projected[:, step + 1, step] = length[:, 0, 0].to(batch.dtype)
            basis = torch.cat([basis, vector], dim=-1)
    return torch.linalg.eigvalsh((projected + projected.mH) / 2)[:, -1]

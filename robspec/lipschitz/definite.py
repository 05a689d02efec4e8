"""Certified upper bounds on the largest eigenvalue of Hermitian matrices, by a completed Cholesky
factorisation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import torch

from robspec.lipschitz import directed
from robspec.lipschitz.threads import AVAILABLE, threads_for

STEP = 2.0**-21
"""Relative distance (4.8e-7) between an estimated largest eigenvalue and the value that is then proved."""

FLOOR = 1e-280
"""Where candidates begin."""
_WORTH_SHARING = 96
_WORTH_GUESSING = 512
_GUESSES = 48
_EXHAUSTED = 1e-12

Chunks = Callable[[], Iterator[torch.Tensor]]


def cholesky_slack(size: int, trace: float) -> float:
    """Bound how negative an eigenvalue can be although a float64 Cholesky factorisation ran to completion.

    A completed factorisation satisfies R*R = A + E with |E| <= gamma |R*||R| entry by entry, gamma =
    gamma_(n+1) for real and at most gamma_(4(n+1)) for complex arithmetic, whatever the order of summation;
    and the trace of |R*||R| is the trace of R*R.

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

    A candidate is raised until every matrix passes: candidate * I - G has a completed Cholesky
    factorisation.

    Args:
        matrices: returns an iterator over batches, float64 or complex128, shape (batch, n, n); called once.
        error: bound in l_2 on the error of every stored matrix, rounded up.

    Returns:
        An upper bound, within a relative STEP (plus rounding) of the largest eigenvalue.

    Source: MATH.md section 5.
    """
    candidate, size = FLOOR, 1
    for batch in matrices():
        size = int(batch.shape[-1])
        candidate = raised(batch, candidate)
        if not math.isfinite(candidate):
            return math.inf
    return proved(candidate, size, error)


def raised(batch: torch.Tensor, candidate: float) -> float:
    """Raise a candidate until every matrix of a batch passes; see `largest_eigenvalue`.

    Args:
        batch: float64 or complex128, shape (batch, n, n).
        candidate: where to begin.

    Returns:
        At least the candidate; infinity where a matrix is not finite.
    """
    if not len(batch):
        return candidate
    norms = _frobenius(batch)
    if not bool(torch.isfinite(norms).all()):
        return math.inf
    if int(batch.shape[-1]) == 1:
        return max(candidate, float((batch.real if batch.is_complex() else batch).max()))
    with threads_for(0):
        return _raise_to_pass(batch, norms, candidate)


def proved(candidate: float, size: int, error: float) -> float:
    """Say what a candidate that matrices have passed is a bound for.

    Args:
        candidate: as `raised` gives it.
        size: n, the order of the matrices.
        error: bound in l_2 on the error of every stored matrix, rounded up.

    Returns:
        An upper bound on their eigenvalues, the errors included.
    """
    slack = 0.0 if size == 1 else cholesky_slack(size, directed.mul(float(size), candidate, 1.0 + 1e-9))
    return directed.add(candidate, slack, directed.mul(4 * directed.UNIT, candidate), error)


def at_most(batch: torch.Tensor, limits: torch.Tensor, error: float) -> torch.Tensor:
    """Tell which matrices surely have no eigenvalue above a limit of their own, the errors included.

    Args:
        batch: float64 or complex128, shape (batch, n, n).
        limits: shape (batch,); below 0 for matrices that are not asked about.
        error: bound in l_2 on the error of every stored matrix, rounded up.

    Returns:
        bool, shape (batch,): False where it is not known.
    """
    size = int(batch.shape[-1])
    part = 4 * directed.UNIT + (0.0 if size == 1 else cholesky_slack(size, size * (1.0 + 1e-9)))
    # What a factorisation at these proves is below the limits: twice what it may be off is taken off.
    tried = limits * (1 - 2 * part) - error * (1 + 1e-9)
    if size == 1:
        return (batch.real if batch.is_complex() else batch).reshape(-1) <= tried
    norms = _frobenius(batch)
    passed = norms * (1.0 + 1e-7) <= tried
    asked = torch.nonzero((tried > 0) & ~passed & torch.isfinite(norms)).flatten()
    if len(asked):
        passed[asked] = _factorise(_less(tried[asked], batch if len(asked) == len(batch) else batch[asked])) == 0
    return passed


def _less(limits: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
    """Form limit * I - G for every matrix of a batch."""
    found = batch.neg()
    found.diagonal(dim1=-2, dim2=-1).add_(limits.reshape(-1, 1))
    return found


def smallest_eigenvalue(matrices: Chunks, above: float, error: float) -> float:
    """Bound from below the smallest eigenvalue over the same family.

    Args:
        matrices: as for `largest_eigenvalue`.
        above: what `largest_eigenvalue` returned for it, so that above * I - G is positive semi-definite.
        error: as for `largest_eigenvalue`.

    Returns:
        A lower bound, at least 0.
    """
    if not math.isfinite(above):
        return 0.0

    def flipped() -> Iterator[torch.Tensor]:
        for batch in matrices():
            yield above * torch.eye(int(batch.shape[-1]), dtype=batch.dtype) - batch

    rounding = directed.mul(4 * directed.UNIT, above)
    gap = Fraction(above) - Fraction(largest_eigenvalue(flipped, directed.add(error, rounding)))
    return directed.floor_float(gap) if gap > 0 else 0.0


def _frobenius(batch: torch.Tensor) -> torch.Tensor:
    flat = torch.view_as_real(batch) if batch.is_complex() else batch
    norms: torch.Tensor = torch.linalg.vector_norm(flat.reshape(len(batch), -1), dim=-1)
    return norms


def _raise_to_pass(batch: torch.Tensor, norms: torch.Tensor, candidate: float) -> float:
    """Raise the candidate until candidate * I - G is proved positive for every matrix of the batch."""
    size = int(batch.shape[-1])
    if candidate == FLOOR:
        candidate = max(candidate, _guess(batch[norms.argmax().reshape(1)]) * (1.0 + STEP))
    open_cases = norms * (1.0 + 1e-7) > candidate
    pending = batch if bool(open_cases.all()) else batch[open_cases]
    sample = 8 if size <= 128 else 2
    estimate = _guess
    while len(pending):
        info = _factorise(_less(torch.tensor([candidate], dtype=torch.float64), pending))
        failed = info != 0
        pending = pending[failed]
        if len(pending):
            worst = torch.argsort(info[failed])[:sample]
            candidate = max(candidate * (1.0 + STEP / 16), estimate(pending[worst]) * (1.0 + STEP))
            estimate = _top
    return candidate


def _factorise(batch: torch.Tensor) -> torch.Tensor:
    """Factorise every matrix and return 0 where that succeeded; large ones are shared between threads."""
    shares = min(len(batch), AVAILABLE)
    if shares < 2 or int(batch.shape[-1]) < _WORTH_SHARING:
        with threads_for(int(batch.shape[-1])):
            info: torch.Tensor = torch.linalg.cholesky_ex(batch).info
        return info
    parts = torch.tensor_split(batch, shares)
    with ThreadPoolExecutor(shares) as pool:
        return torch.cat([found.info for found in pool.map(torch.linalg.cholesky_ex, parts)])


def _top(batch: torch.Tensor) -> float:
    """Estimate the largest eigenvalue of a few matrices; a hint only, nothing rests on it."""
    return float(torch.linalg.eigvalsh(batch)[:, -1].max())


def _guess(batch: torch.Tensor) -> float:
    """Estimate the same from a Krylov space where the matrices are large; never too high by more than rounding."""
    size = int(batch.shape[-1])
    if size < _WORTH_GUESSING:
        return _top(batch)
    start = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    best = 0.0
    for matrix in batch:
        space = torch.zeros(size, _GUESSES, dtype=batch.dtype)
        vector = start.to(batch.dtype)
        for step in range(_GUESSES):
            known, whole = space[:, :step], torch.linalg.vector_norm(vector)
            for _ in range(2):
                vector = vector - known @ (known.mH @ vector)
            length = torch.linalg.vector_norm(vector)
            if not bool(length > _EXHAUSTED * whole):
                break
            space[:, step] = vector / length
            vector = matrix @ space[:, step]
        best = max(best, _top((space.mH @ matrix @ space).unsqueeze(0)))
    return best

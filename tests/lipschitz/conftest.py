"""Helpers for the prover's tests: export a small model, write it as a dense matrix, stretch random pairs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from robspec.lipschitz.prove import prove
from robspec.lipschitz.replay import Replay
from robspec.semantics.norm import Norm

Export = Callable[..., ExportedProgram]


class Function(nn.Module):
    """A module that is one function."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def _export(
    model: nn.Module | Callable[[torch.Tensor], torch.Tensor],
    shape: tuple[int, ...],
    *,
    batch: bool = True,
    dtype: torch.dtype = torch.float32,
    train: bool = False,
) -> ExportedProgram:
    module = model if isinstance(model, nn.Module) else Function(model)
    module.train(train)
    if not batch:
        return torch.export.export(module, (torch.randn(shape, dtype=dtype),))
    sample = torch.randn(3, *shape, dtype=dtype)
    dynamic = ({0: torch.export.Dim("batch", min=1, max=64)},)
    if not isinstance(model, nn.Module):
        dynamic = (dynamic[0],)
    return torch.export.export(module, (sample,), dynamic_shapes=dynamic)


def _matrix(program: ExportedProgram) -> np.ndarray:
    replay = Replay(program)
    shape = tuple(n for axis, n in enumerate(replay.layout.shape) if axis != replay.layout.axis)
    size = int(np.prod(shape))
    basis = torch.eye(size, dtype=torch.float64)
    with torch.no_grad():
        if replay.layout.axis is None:
            columns = [replay(e.reshape(shape).clone()).reshape(-1) for e in basis]
            offset = replay(torch.zeros(shape, dtype=torch.float64)).reshape(-1)
            return (torch.stack(columns) - offset).T.numpy()
        images = replay(basis.reshape(size, *shape)).reshape(size, -1)
        offset = replay(torch.zeros(1, *shape, dtype=torch.float64)).reshape(1, -1)
        return (images - offset).T.numpy()


def _dense_norm(matrix: np.ndarray, norm: Norm) -> float:
    if norm.p == 2:
        return float(np.linalg.svd(matrix, compute_uv=False)[0])
    return float(np.abs(matrix).sum(0 if norm.p == 1 else 1).max())


def _stretch(program: ExportedProgram, norm: Norm, *, scale: float = 1.0, pairs: int = 64, seed: int = 0) -> float:
    replay = Replay(program)
    generator = torch.Generator().manual_seed(seed)
    shape = tuple(n for axis, n in enumerate(replay.layout.shape) if axis != replay.layout.axis)
    order = float("inf") if norm.p is None else float(norm.p)
    best = 0.0
    for reach in (2.0, 0.1, 1e-3):
        first = torch.randn(pairs, *shape, generator=generator, dtype=torch.float64) * scale
        second = first + torch.randn(pairs, *shape, generator=generator, dtype=torch.float64) * reach
        for a, b in zip(first, second, strict=True):
            a, b = (a, b) if replay.layout.axis is None else (a.unsqueeze(0), b.unsqueeze(0))
            with torch.no_grad():
                top = torch.linalg.vector_norm((replay(a.clone()) - replay(b.clone())).reshape(-1), ord=order)
            bottom = torch.linalg.vector_norm((a - b).reshape(-1), ord=order)
            best = max(best, float(top / bottom))
    return best


@pytest.fixture(scope="session")
def export() -> Export:
    """Export a module, or a function, of one image of the given shape."""
    return _export


@pytest.fixture(scope="session")
def matrix() -> Callable[[ExportedProgram], np.ndarray]:
    """Write an affine program as a dense float64 matrix, by applying it to the identity."""
    return _matrix


@pytest.fixture(scope="session")
def dense_norm() -> Callable[[np.ndarray, Norm], float]:
    """The l_1, l_2 or l_infinity norm of a dense matrix."""
    return _dense_norm


@pytest.fixture(scope="session")
def stretch() -> Callable[..., float]:
    """The largest ratio over random pairs of images, in float64."""
    return _stretch


@pytest.fixture(scope="session")
def bound() -> Callable[[ExportedProgram, Norm], float]:
    """The proved constant in one norm."""

    def proved(program: ExportedProgram, norm: Norm) -> float:
        return prove(program, input_norm=norm, output_norm=norm).bound

    return proved

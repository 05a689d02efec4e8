"""Helpers: export a module or a function with a free batch size."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

from tests.lipschitz.conftest import Function

Export = Callable[..., ExportedProgram]


def _export(
    model: nn.Module | Callable[[torch.Tensor], torch.Tensor],
    shape: tuple[int, ...] = (2, 4, 4),
    *,
    dtype: torch.dtype = torch.float32,
    images: int | None = None,
) -> ExportedProgram:
    module = (model if isinstance(model, nn.Module) else Function(model)).eval()
    sample = torch.rand(images or 3, *shape, dtype=dtype)
    batch = None if images else ({0: torch.export.Dim("batch", min=1, max=16)},)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(module, (sample,), dynamic_shapes=batch)


@pytest.fixture(scope="session")
def export() -> Export:
    """Export a module, or a function, of images of the given shape; the batch is free unless `images` fixes it."""
    return _export

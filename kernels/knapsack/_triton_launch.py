"""Starting Triton kernels: the device, the memory they write, the tensors they read."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch

from robspec import arrays
from robspec.arrays import Array


def scratch(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Memory that a kernel overwrites before anything reads it."""
    return torch.empty(shape, dtype=dtype, device=device)


def named(name: str) -> Any:
    """Find a kernel: of this package by its name alone, else after the name of its package and a point."""
    package, _, own = name.rpartition(".")
    return getattr(importlib.import_module(f"robspec.kernels.{package or 'knapsack'}._triton_kernels"), own)


def launch(name: str, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
    """Start a kernel, fused multiply-adds off; the interpreter's float64 may overflow to infinity, as the GPU's."""
    from robspec.kernels.knapsack import _triton_kernels

    kernel = named(name)
    if _triton_kernels.INTERPRETED:
        with np.errstate(all="ignore"):
            kernel[grid](*arguments, **constants)
    else:
        kernel[grid](*arguments, **constants, enable_fp_fusion=False)


def logits_on_device(logits: Array) -> torch.Tensor:
    """Bring logits to the device; bfloat16 as its bit patterns in int16."""
    found = arrays.tensor(logits).detach().to(_device())
    return found.view(torch.int16) if found.dtype is torch.bfloat16 else found


def labels_on_device(labels: Array | None) -> tuple[torch.Tensor, tuple[int, ...]]:
    """Bring labels to the device, with their strides; no labels become one that is never read."""
    if labels is None:
        return torch.zeros(1, dtype=torch.int64, device=_device()), (0, 0, 0)
    found = arrays.tensor(labels).detach().to(_device())
    return found, found.stride()


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")

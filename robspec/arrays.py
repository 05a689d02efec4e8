"""Arrays of numpy, or tensors of torch where there are any: importing torch takes a second."""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Array: TypeAlias = "npt.NDArray[Any] | torch.Tensor"


def library(values: Array) -> ModuleType:
    """Give the module whose functions take these values: numpy, or torch, which made the tensor."""
    return np if isinstance(values, np.ndarray) else sys.modules["torch"]


def host(values: Array) -> npt.NDArray[Any]:
    """View values as numpy, uncopied where memory allows; not of bfloat16, which numpy has no type for."""
    if isinstance(values, np.ndarray):
        return values
    found: npt.NDArray[Any] = values.detach().cpu().numpy()
    return found


def doubles(values: Array) -> npt.NDArray[np.float64]:
    """Give values as float64, in which each type of floating point is exact; uncopied if they are."""
    if isinstance(values, np.ndarray):
        return values.astype(np.float64, copy=False)
    found: npt.NDArray[np.float64] = values.detach().cpu().to(library(values).float64).numpy()
    return found


@overload
def tensor(values: Array) -> torch.Tensor: ...
@overload
def tensor(values: Array | None) -> torch.Tensor | None: ...
def tensor(values: Array | None) -> torch.Tensor | None:
    """Give values as a tensor, uncopied; nothing of nothing."""
    if not isinstance(values, np.ndarray):
        return values
    import torch

    # torch has no tensor that must not be written to.
    return torch.from_numpy(values if values.flags.writeable else values.copy())


def like(values: npt.NDArray[Any], example: Array) -> Array:
    """Give an array as what the example is: a tensor on the same device, or as it is."""
    return values if isinstance(example, np.ndarray) else tensor(values).to(example.device)


def kind(values: Array) -> str:
    """Name the type of the numbers, such as float32."""
    return str(values.dtype).removeprefix("torch.")


def size(values: Array) -> int:
    """Count the numbers."""
    return int(np.prod(values.shape, dtype=np.int64))


def threads() -> int:
    """How many threads share work: as many as torch has where it is imported, else as many as it would begin with."""
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        return int(torch.get_num_threads())
    told = os.environ.get("OMP_NUM_THREADS", "")
    if told.isdigit() and int(told) > 0:
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

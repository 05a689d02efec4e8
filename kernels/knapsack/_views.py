"""Tensors as the numpy arrays compiled code reads, never copied where memory allows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from robspec import arrays
from robspec.arrays import Array
from robspec.kernels.knapsack import IntArray

NO_LABEL = -(2**62)
"""Stands for "no label is ignored"."""
_COPIED = 1 << 22
"""So few logits are copied into the usual layout, if they have another: compiling for that one would take longer."""


def numpy_view(logits: Array) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """View logits as numpy, uncopied where they are many; half precisions as bits with a table of their values."""
    if arrays.kind(logits) in ("float32", "float64"):
        array = arrays.host(logits)
        if array.size <= _COPIED:
            array = np.ascontiguousarray(array)
        return array, np.zeros(1, dtype=array.dtype)
    import torch

    tensor = arrays.tensor(logits).detach().cpu()
    if tensor.numel() <= _COPIED:
        tensor = tensor.contiguous()
    patterns = torch.arange(65536, dtype=torch.int32).to(torch.int16)
    table: npt.NDArray[Any] = patterns.view(tensor.dtype).to(torch.float32).numpy()
    return tensor.view(torch.int16).numpy().view(np.uint16), table


def label_view(labels: Array | None, images: int, pixels: int) -> IntArray:
    """View labels as int64 [B, P], [B, 0] for none."""
    if labels is None:
        return np.empty((images, 0), dtype=np.int64)
    array: IntArray = np.ascontiguousarray(arrays.host(labels)).reshape(images, pixels)
    return array


def workers(pixels: int, chunk: int) -> int:
    """How many pieces a pass over one image is cut into: four for each thread, none empty."""
    return min(4 * arrays.threads(), -(-pixels // chunk))

"""A program as robspec works on it: a graph, what it stores, and what it declares of its values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ExportGraphSignature


@dataclass(frozen=True, slots=True)
class Size:
    """A size that is computed from the size of the batch.

    Args:
        text: how the file writes it.
        at: its value for a size of the batch.
    """

    text: str
    at: Callable[[int], int]

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Declared:
    """What is declared of a tensor.

    Args:
        dtype: its element type.
        shape: its sides; those that follow the batch are no integers.
    """

    dtype: torch.dtype
    shape: tuple[int | Size | torch.SymInt, ...]

    def dim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)


@dataclass(frozen=True, eq=False)
class GraphProgram:
    """A graph with its weights, as read from a file or settled.

    Args:
        graph_module: what computes; its nodes say in `val` what is declared of their results.
        graph_signature: what each placeholder stands for.
        state_dict: weights and buffers by name.
        constants: constants by name.
        batch: smallest and largest size of a batch, the second None for no limit; None where it is one number that
            the shapes state.
        identity: the same for equal graphs and values, where it comes from a file; else None.
    """

    graph_module: fx.GraphModule
    graph_signature: ExportGraphSignature
    state_dict: Mapping[str, Any]
    constants: Mapping[str, Any]
    batch: tuple[int, int | None] | None = None
    identity: str | None = None

    @property
    def graph(self) -> fx.Graph:
        """Its nodes."""
        return self.graph_module.graph


AnyProgram: TypeAlias = GraphProgram | ExportedProgram
"""Either as read by robspec, or as `torch.export.export` gives it."""


def declared(value: object) -> Declared | None:
    """Read what is declared of a tensor, None where it is not about one.

    Args:
        value: a node's `val`.
    """
    if isinstance(value, Declared):
        return value
    return Declared(value.dtype, tuple(value.shape)) if isinstance(value, torch.Tensor) else None
